"""Logging in and out over HTTP, on fakes."""

import asyncio
import gzip
import re
import threading
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_console import server
from chaski_console.auth import login
from chaski_console.auth.authenticators import SECURITY_HEADERS
from chaski_console.auth.hashing import verify
from chaski_console.auth.login import local_path, password_authentication
from chaski_console.auth.throttle import PER_ADDRESS
from support.clocks import StillClock
from support.console_users import users_text
from unit.console.fakes import FakeActions, FakeSources, dead_letter

PASSWORD = "correct horse battery"
FORM = b"name=ada&password=correct+horse+battery&next="


@dataclass
class Response:
    """A response of the console."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """Name and value of the cookie that is set."""
        return self.headers.get("Set-Cookie", "").partition(";")[0]


@dataclass
class Console:
    """A running console with password authentication."""

    base: str
    file: Path
    clock: StillClock
    fakes: FakeSources = field(default_factory=lambda: FakeSources(actions=FakeActions()))

    async def request(self, method: str, path: str, form: Any = None, **headers: str) -> Response:
        """Sends one request; keeps no cookies and follows no redirects."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(method, self.base + path, data=form, headers=headers, allow_redirects=False) as response,
        ):
            for name, value in SECURITY_HEADERS.items():
                assert response.headers[name] == value
            return Response(response.status, await response.text(), dict(response.headers))

    async def log_in(
        self, name: str = "ada", password: str = PASSWORD, next_path: str = "/", **headers: str
    ) -> Response:
        """Submits the login form."""
        return await self.request("POST", "/login", {"name": name, "password": password, "next": next_path}, **headers)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """With the users ada and bob."""
    file, clock, fakes = tmp_path / "users", StillClock(), FakeSources(actions=FakeActions())
    file.write_text(users_text(ada=PASSWORD, bob=f"another {PASSWORD}"))
    running = await server.start("127.0.0.1", 0, fakes.sources, clock, password_authentication(file, clock, 3_600))
    yield Console(f"http://127.0.0.1:{running.port}", file, clock, fakes)
    await running.close()


def token_of(page: str) -> str:
    """The CSRF token of a page."""
    found = re.search(r'name="token" value="([\w-]+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/", "/dead-letters?text=a%20b", "/dead-letters/m-1", "/messages/m-1", "/nowhere"])
async def test_anonymous_users_are_redirected_to_the_login_page(console: Console, path: str) -> None:
    """And after the login to the requested page."""
    await console.fakes.put(dead_letter("m-1"))
    response = await console.request("GET", path)
    assert response.status == 303
    form = await console.request("GET", response.headers["Location"])
    assert form.status == 200
    next_field = re.search(r'name="next" value="([^"]+)"', form.text)
    assert next_field is not None
    assert next_field[1] == path
    entered = await console.log_in(next_path=next_field[1])
    assert (entered.status, entered.headers["Location"]) == (303, path)


@pytest.mark.parametrize(("method", "path"), [("POST", "/dead-letters"), ("GET", "/live"), ("POST", "/logout")])
async def test_anonymous_requests_are_denied(console: Console, method: str, path: str) -> None:
    """Also those with a forged cookie."""
    await console.fakes.put(dead_letter("m-1"))
    for cookie in ({}, {"Cookie": "chaski-console=a.1.YWRh.b"}):
        response = await console.request(method, path, {"action": "replay", "id": "m-1", "token": "x"}, **cookie)
        assert response.status == 401
        assert "m-1" not in response.text
    assert console.fakes.actions is not None
    assert console.fakes.actions.done == []


async def test_static_files_of_the_login_page_are_public(console: Console) -> None:
    """And no other files."""
    assert (await console.request("GET", "/static/console.css")).status == 200
    assert (await console.request("GET", "/static/..%2fapp.py")).status == 404
    assert (await console.request("GET", "/loginx")).status == 303


async def test_the_page_and_the_log_name_the_user(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    """The audit line of an action has the user's name."""
    caplog.set_level("INFO")
    await console.fakes.put(dead_letter("m-1"))
    entered = await console.log_in()
    page = await console.request("GET", "/dead-letters?window=all", Cookie=entered.cookie)
    assert ">ada<" in page.text
    form = {"token": token_of(page.text), "action": "replay", "id": "m-1"}
    done = await console.request("POST", "/dead-letters", form, Cookie=entered.cookie)
    shown = await console.request("GET", done.headers["Location"], Cookie=entered.cookie)
    assert "1 replayed" in shown.text
    (line,) = [record for record in caplog.records if getattr(record, "ecs", {}).get("event.action") == "replay"]
    assert "by ada" in line.getMessage()
    assert line.ecs["user.name"] == "ada"  # type: ignore[attr-defined]
    assert line.ecs["chaski.message.ids"] == ["m-1"]  # type: ignore[attr-defined]
    assert PASSWORD not in caplog.text


async def test_attributes_of_the_session_cookie(console: Console) -> None:
    """Over HTTPS its name has the prefix `__Host-`, and it is sent over HTTPS only."""
    plain = (await console.log_in()).headers["Set-Cookie"]
    assert plain.startswith("chaski-console=")
    assert plain.endswith("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict")
    headers = {"Host": "console.example", "Origin": "https://console.example"}
    secure = (await console.log_in(**headers)).headers["Set-Cookie"]
    assert secure.startswith("__Host-chaski-console=")
    assert secure.endswith("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict; Secure")
    value = secure.partition(";")[0].partition("=")[2]
    page = await console.request("GET", "/", Host="console.example", Cookie=f"a=b; __Host-chaski-console={value}")
    assert page.status == 200
    other = await console.request("GET", "/", Host="console.example", Cookie=f"chaski-console={value}")
    assert other.status == 303


async def test_passwords_are_denied_over_plain_http_from_other_machines(console: Console) -> None:
    """Even the correct one, because others on the network may have read it."""
    response = await console.log_in(Host="console.example", Origin="http://console.example")
    assert response.status == 403
    assert "HTTPS" in response.text
    assert response.cookie == ""


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong password"), ("eve", PASSWORD), ("", ""), ("ada", "x" * 2_000), ("bob", PASSWORD)],
)
async def test_a_wrong_password_is_denied(
    console: Console, name: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same response for unknown names; the log has the client's address, but no name and no password."""
    response = await console.log_in(name, password)
    assert response.status == 401
    assert "The name or the password is wrong." in response.text
    assert response.cookie == ""
    (line,) = [ecs for each in caplog.records if (ecs := getattr(each, "ecs", None))]
    assert (line["event.outcome"], line["source.ip"]) == ("failure", "127.0.0.1")
    assert "eve" not in caplog.text


async def test_failed_logins_are_throttled(console: Console) -> None:
    """After a few failures even the correct password is not checked until a pause is over."""
    for _ in range(PER_ADDRESS.burst):
        assert (await console.log_in(password="wrong password")).status == 401
    refused = await console.log_in()
    assert refused.status == 429
    assert "try again in 10 s" in refused.text
    assert refused.headers["Retry-After"] == "10"
    console.clock.pass_time(10)
    assert (await console.log_in()).status == 303


class SlowVerification:
    """Verifies passwords when the test allows it; counts how many are verified at once."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.total = self.running = self.most = 0

    def __call__(self, entry: str | None, password: str, instead: str) -> bool:
        """As `hashing.verify`."""
        self.total += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.release()
        assert self.allowed.acquire(timeout=60)
        self.running -= 1
        return verify(entry, password, instead)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowVerification:
    """Replaces the verification of passwords."""
    replaced = SlowVerification()
    monkeypatch.setattr(login, "verify", replaced)
    return replaced


async def test_passwords_are_verified_one_at_a_time(console: Console, slow: SlowVerification) -> None:
    """Each takes 64 MiB. Other requests are served meanwhile, and logins beyond the limit of failures are not verified."""
    logins = [asyncio.create_task(console.log_in(password="wrong password")) for _ in range(PER_ADDRESS.burst + 5)]
    assert await asyncio.to_thread(slow.started.acquire, timeout=60)
    assert (await console.request("GET", "/login")).status == 200
    slow.allowed.release(len(logins))
    statuses = sorted([(await each).status for each in logins])
    assert statuses == [401] * PER_ADDRESS.burst + [429] * 5
    assert (slow.total, slow.most) == (PER_ADDRESS.burst, 1)


async def test_a_client_that_disconnects_escapes_no_limit(console: Console, slow: SlowVerification) -> None:
    """Its password is still verified before the next one, and its failure counts."""
    for _ in range(PER_ADDRESS.burst):
        leaving = asyncio.create_task(console.log_in(password="wrong password"))
        assert await asyncio.to_thread(slow.started.acquire, timeout=60)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        waiting = asyncio.create_task(console.request("GET", "/login"))
        assert (await waiting).status == 200
        slow.allowed.release()
    assert (await console.log_in()).status == 429
    assert (slow.total, slow.most) == (PER_ADDRESS.burst, 1)


async def test_a_password_that_changes_while_it_is_verified_is_denied(console: Console, slow: SlowVerification) -> None:
    """The session would belong to the new one."""
    entering = asyncio.create_task(console.log_in())
    assert await asyncio.to_thread(slow.started.acquire, timeout=60)
    console.file.write_text(users_text(ada=f"not {PASSWORD}"))
    console.clock.pass_time(6)
    slow.allowed.release()
    assert (await entering).status == 401


async def test_plain_passwords_of_an_earlier_release_still_log_in(console: Console) -> None:
    """Beside hashes; a session ends when its line is replaced by a hash."""
    console.file.write_text(f"ada:{PASSWORD}\n" + users_text(bob=PASSWORD))
    console.clock.pass_time(6)
    cookie = (await console.log_in()).cookie
    assert (await console.request("GET", "/", Cookie=cookie)).status == 200
    assert (await console.log_in("bob")).status == 303
    console.file.write_text(users_text(ada=PASSWORD, bob=PASSWORD))
    console.clock.pass_time(6)
    assert (await console.request("GET", "/", Cookie=cookie)).status == 303
    assert (await console.log_in()).status == 303


async def test_anything_but_a_form_is_refused_before_the_login(console: Console) -> None:
    """Strangers reach no parser of files and compressed bodies."""
    files = aiohttp.FormData({"name": "ada", "password": PASSWORD})
    files.add_field("file", b"x", filename="x")
    response = await console.request("POST", "/login", files)
    assert response.status == 415
    assert "Unsupported media type" in response.text


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(FORM)),
        ("gzip", gzip.compress(FORM + b"a" * 20_000_000)),
        ("gzip, gzip", gzip.compress(gzip.compress(FORM))),
        ("deflate", zlib.compress(FORM)),
        ("gzip", b"not compressed"),
        ("identity", FORM),
    ],
    ids=["gzip", "bomb", "twice", "deflate", "broken", "identity"],
)
async def test_an_encoded_login_is_refused_and_never_expanded(console: Console, encoding: str, body: bytes) -> None:
    """Although name and password are right: no parser of compressed bodies runs before the user is known."""
    headers = {"Content-Encoding": encoding, "Content-Type": "application/x-www-form-urlencoded"}
    response = await console.request("POST", "/login", body, **headers)
    assert response.status == 415
    assert "Set-Cookie" not in response.headers


async def test_a_session_ends(console: Console) -> None:
    """With its lifetime and with its password; an open page then gets no more updates."""
    cookie = (await console.log_in()).cookie
    assert (await console.request("GET", "/", Cookie=cookie)).status == 200
    async with (
        aiohttp.ClientSession(headers={"Cookie": cookie}, timeout=aiohttp.ClientTimeout(total=60)) as http,
        http.get(f"{console.base}/live") as stream,
    ):
        await stream.content.readuntil(b"\n\n")
        console.clock.pass_time(3_600)
        await stream.content.read()  # to its end
    assert (await console.request("GET", "/", Cookie=cookie)).status == 303
    cookie = (await console.log_in()).cookie
    console.file.write_text(users_text(ada=f"not {PASSWORD}"))
    console.clock.pass_time(6)
    assert (await console.request("GET", "/", Cookie=cookie)).status == 303


async def test_logging_out_ends_the_session_everywhere(console: Console) -> None:
    """Copies of the cookie are invalid too. It requires the CSRF token, so other sites can't do it."""
    cookie = (await console.log_in()).cookie
    page = await console.request("GET", "/", Cookie=cookie)
    assert (await console.request("POST", "/logout", {"token": "0"}, Cookie=cookie)).status == 403
    form = {"token": token_of(page.text)}
    assert (await console.request("POST", "/logout", form, Cookie=cookie, Origin="http://b.example")).status == 403
    left = await console.request("POST", "/logout", form, Cookie=cookie)
    assert (left.status, left.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in left.headers["Set-Cookie"]
    assert (await console.request("GET", "/", Cookie=cookie)).status == 303


async def test_a_token_belongs_to_one_session(console: Console) -> None:
    """The token of an earlier session of the same user is denied."""
    await console.fakes.put(dead_letter("m-1"))
    first, second = (await console.log_in()).cookie, (await console.log_in()).cookie
    page = await console.request("GET", "/dead-letters?window=all", Cookie=first)
    form = {"token": token_of(page.text), "action": "replay", "id": "m-1"}
    assert (await console.request("POST", "/dead-letters", form, Cookie=second)).status == 403


async def test_other_sites_cannot_log_users_in(console: Console) -> None:
    """Login CSRF: as a user whose actions the attacker can see."""
    for headers in ({"Origin": "http://b.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert (await console.log_in(**headers)).status == 403


async def test_a_link_from_another_site_reloads_the_page(console: Console) -> None:
    """Browsers send a strict cookie only after the reload."""
    response = await console.request("GET", "/dead-letters/m-1", **{"Sec-Fetch-Site": "cross-site"})
    assert response.status == 200
    assert 'http-equiv="refresh" content="0"' in response.text


async def test_the_login_page_redirects_logged_in_users(console: Console) -> None:
    """To the requested page."""
    cookie = (await console.log_in()).cookie
    response = await console.request("GET", "/login?next=/dead-letters", Cookie=cookie)
    assert (response.status, response.headers["Location"]) == (303, "/dead-letters")


@pytest.mark.parametrize(
    "requested",
    [
        "https://b.example/", "//b.example/", "/\\b.example", "\\\\b.example", "javascript:alert(1)", "b.example", "",
        "/a\nSet-Cookie: b=c", "/ü", "/" + "a" * 3_000, "///b.example", "/\t/b.example", "http:b", "//[",
    ],
)  # fmt: skip
def test_the_login_redirects_to_no_other_site(requested: str) -> None:
    """Whatever `next` holds."""
    assert local_path(requested) == "/"


@pytest.mark.parametrize("requested", ["/", "/dead-letters?window=all&text=a+b", "/messages/m%2F1"])
def test_the_login_redirects_to_pages_of_the_console(requested: str) -> None:
    """With their query."""
    assert local_path(requested) == requested


async def test_a_hostile_name_stays_text(console: Console) -> None:
    """The form shows it again."""
    response = await console.log_in(name='"><img src=x>', password="wrong password")
    assert "<img" not in response.text
