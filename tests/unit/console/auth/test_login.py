"""Signing in and out over HTTP, on fakes."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaski_console import server
from chaski_console.auth.authenticators import HEADERS
from chaski_console.auth.login import own_path, password_authentication
from chaski_console.auth.throttle import FROM_ONE
from support.clocks import StillClock
from unit.console.fakes import FakeActions, World, letter

PASSWORD = "correct horse battery"


@dataclass
class Answer:
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """Name and value of the cookie that is set."""
        return self.headers.get("Set-Cookie", "").partition(";")[0]


@dataclass
class Console:
    """A running console that asks for passwords."""

    base: str
    file: Path
    clock: StillClock
    world: World = field(default_factory=lambda: World(actions=FakeActions()))

    async def ask(self, method: str, path: str, form: Any = None, **headers: str) -> Answer:
        """Asks as it stands there: no cookie is kept, no redirect followed."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(method, self.base + path, data=form, headers=headers, allow_redirects=False) as answer,
        ):
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def sign_in(self, name: str = "ada", password: str = PASSWORD, onward: str = "/", **headers: str) -> Answer:
        """Sends the form."""
        return await self.ask("POST", "/login", {"name": name, "password": password, "next": onward}, **headers)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """Ada and Bob may sign in."""
    file, clock, world = tmp_path / "users", StillClock(), World(actions=FakeActions())
    file.write_text(f"ada:{PASSWORD}\nbob:another {PASSWORD}\n")
    running = await server.start("127.0.0.1", 0, world.sources, clock, password_authentication(file, clock, 3_600))
    yield Console(f"http://127.0.0.1:{running.port}", file, clock, world)
    await running.close()


def token_of(page: str) -> str:
    """The token that the forms of a page carry."""
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/", "/dead-letters?text=a%20b", "/dead-letters/m-1", "/messages/m-1", "/nowhere"])
async def test_strangers_are_asked_to_sign_in(console: Console, path: str) -> None:
    """And are brought back to where they wanted to go."""
    await console.world.keep(letter("m-1"))
    answer = await console.ask("GET", path)
    assert answer.status == 303
    asked = await console.ask("GET", answer.headers["Location"])
    assert asked.status == 200
    onward = re.search(r'name="next" value="([^"]+)"', asked.text)
    assert onward is not None
    assert onward[1] == path
    entered = await console.sign_in(onward=onward[1])
    assert (entered.status, entered.headers["Location"]) == (303, path)


@pytest.mark.parametrize(("method", "path"), [("POST", "/dead-letters"), ("GET", "/live"), ("POST", "/logout")])
async def test_strangers_get_nothing_and_do_nothing(console: Console, method: str, path: str) -> None:
    """No figures, no actions; a cookie that we have not made is none."""
    await console.world.keep(letter("m-1"))
    for cookie in ({}, {"Cookie": "chaski-console=a.1.YWRh.b"}):
        answer = await console.ask(method, path, {"action": "replay", "id": "m-1", "token": "x"}, **cookie)
        assert answer.status == 401
        assert "m-1" not in answer.text
    assert console.world.actions is not None
    assert console.world.actions.done == []


async def test_what_the_page_is_made_with_is_shown_to_all(console: Console) -> None:
    """The style sheet of the login page, and no other file."""
    assert (await console.ask("GET", "/static/console.css")).status == 200
    assert (await console.ask("GET", "/static/..%2fapp.py")).status == 404
    assert (await console.ask("GET", "/loginx")).status == 303


async def test_whoever_signed_in_sees_and_acts_in_their_name(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    """The page names them, and so does the log's line of what they did."""
    caplog.set_level("INFO")
    await console.world.keep(letter("m-1"))
    entered = await console.sign_in()
    page = await console.ask("GET", "/dead-letters?window=all", Cookie=entered.cookie)
    assert ">ada<" in page.text
    form = {"token": token_of(page.text), "action": "replay", "id": "m-1"}
    done = await console.ask("POST", "/dead-letters", form, Cookie=entered.cookie)
    assert "1 sent again" in done.text
    (line,) = [record for record in caplog.records if getattr(record, "ecs", {}).get("event.action") == "replay"]
    assert "by ada" in line.getMessage()
    assert line.ecs["user.name"] == "ada"  # type: ignore[attr-defined]
    assert line.ecs["chaski.message.ids"] == ["m-1"]  # type: ignore[attr-defined]
    assert PASSWORD not in caplog.text


async def test_a_cookie_is_for_this_site_and_no_script(console: Console) -> None:
    """Over HTTPS it has a name that no other site can set, and comes over HTTPS only."""
    plain = (await console.sign_in()).headers["Set-Cookie"]
    assert plain.startswith("chaski-console=")
    assert plain.endswith("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict")
    headers = {"Host": "console.example", "Origin": "https://console.example"}
    secure = (await console.sign_in(**headers)).headers["Set-Cookie"]
    assert secure.startswith("__Host-chaski-console=")
    assert secure.endswith("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict; Secure")
    value = secure.partition(";")[0].partition("=")[2]
    page = await console.ask("GET", "/", Host="console.example", Cookie=f"a=b; __Host-chaski-console={value}")
    assert page.status == 200
    other = await console.ask("GET", "/", Host="console.example", Cookie=f"chaski-console={value}")
    assert other.status == 303


async def test_no_password_goes_over_plain_http_to_another_machine(console: Console) -> None:
    """Not even the right one gets in: it was read by whoever listens."""
    answer = await console.sign_in(Host="console.example", Origin="http://console.example")
    assert answer.status == 403
    assert "HTTPS" in answer.text
    assert answer.cookie == ""


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong password"), ("eve", PASSWORD), ("", ""), ("ada", "x" * 2_000), ("bob", PASSWORD)],
)
async def test_a_wrong_password_gets_nobody_in(
    console: Console, name: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same answer whether or not there is such a name; the log says from where, and neither word."""
    answer = await console.sign_in(name, password)
    assert answer.status == 401
    assert "The name or the password is wrong." in answer.text
    assert answer.cookie == ""
    assert "did not get in from 127.0.0.1" in caplog.text
    assert "eve" not in caplog.text


async def test_nobody_can_try_one_after_the_other(console: Console) -> None:
    """After a few even the right one is not looked at; after a pause it is."""
    for _ in range(FROM_ONE.burst):
        assert (await console.sign_in(password="wrong password")).status == 401
    refused = await console.sign_in()
    assert refused.status == 429
    assert "try again in 10 s" in refused.text
    assert refused.headers["Retry-After"] == "10"
    console.clock.pass_time(10)
    assert (await console.sign_in()).status == 303


async def test_a_session_ends(console: Console) -> None:
    """With its time; with its password; for an open page too, which is then told nothing more."""
    cookie = (await console.sign_in()).cookie
    assert (await console.ask("GET", "/", Cookie=cookie)).status == 200
    async with (
        aiohttp.ClientSession(headers={"Cookie": cookie}, timeout=aiohttp.ClientTimeout(total=60)) as http,
        http.get(f"{console.base}/live") as stream,
    ):
        await stream.content.readuntil(b"\n\n")
        console.clock.pass_time(3_600)
        await stream.content.read()  # to its end
    assert (await console.ask("GET", "/", Cookie=cookie)).status == 303
    cookie = (await console.sign_in()).cookie
    console.file.write_text(f"ada:not {PASSWORD}")
    console.clock.pass_time(6)
    assert (await console.ask("GET", "/", Cookie=cookie)).status == 303


async def test_signing_out_ends_the_session_everywhere(console: Console) -> None:
    """A copy of the cookie is worth nothing then. It needs the form's token, so no other site can do it."""
    cookie = (await console.sign_in()).cookie
    page = await console.ask("GET", "/", Cookie=cookie)
    assert (await console.ask("POST", "/logout", {"token": "0"}, Cookie=cookie)).status == 403
    form = {"token": token_of(page.text)}
    assert (await console.ask("POST", "/logout", form, Cookie=cookie, Origin="http://b.example")).status == 403
    left = await console.ask("POST", "/logout", form, Cookie=cookie)
    assert (left.status, left.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in left.headers["Set-Cookie"]
    assert (await console.ask("GET", "/", Cookie=cookie)).status == 303


async def test_a_token_is_of_one_session(console: Console) -> None:
    """What was copied from an earlier page of the same person does nothing."""
    await console.world.keep(letter("m-1"))
    first, second = (await console.sign_in()).cookie, (await console.sign_in()).cookie
    page = await console.ask("GET", "/dead-letters?window=all", Cookie=first)
    form = {"token": token_of(page.text), "action": "replay", "id": "m-1"}
    assert (await console.ask("POST", "/dead-letters", form, Cookie=second)).status == 403


async def test_no_other_site_signs_somebody_in(console: Console) -> None:
    """As somebody else, to see what they do there."""
    for headers in ({"Origin": "http://b.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert (await console.sign_in(**headers)).status == 403


async def test_a_link_of_another_site_is_followed_by_a_page_of_ours(console: Console) -> None:
    """Browsers leave a strict cookie out there; the page loads itself again, and then it comes."""
    answer = await console.ask("GET", "/dead-letters/m-1", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert 'http-equiv="refresh" content="0"' in answer.text


async def test_whoever_is_in_needs_no_login_page(console: Console) -> None:
    """It leads on."""
    cookie = (await console.sign_in()).cookie
    answer = await console.ask("GET", "/login?next=/dead-letters", Cookie=cookie)
    assert (answer.status, answer.headers["Location"]) == (303, "/dead-letters")


@pytest.mark.parametrize(
    "asked",
    [
        "https://b.example/", "//b.example/", "/\\b.example", "\\\\b.example", "javascript:alert(1)", "b.example", "",
        "/a\nSet-Cookie: b=c", "/ü", "/" + "a" * 3_000, "///b.example", "/\t/b.example", "http:b", "//[",
    ],
)  # fmt: skip
def test_nobody_is_led_elsewhere_after_signing_in(asked: str) -> None:
    """Whatever a link says."""
    assert own_path(asked) == "/"


@pytest.mark.parametrize("asked", ["/", "/dead-letters?window=all&text=a+b", "/messages/m%2F1"])
def test_the_consoles_own_pages_are_gone_on_to(asked: str) -> None:
    """With what they ask for."""
    assert own_path(asked) == asked


async def test_a_hostile_name_stays_text(console: Console) -> None:
    """It stands in the form again."""
    answer = await console.sign_in(name='"><img src=x>', password="wrong password")
    assert "<img" not in answer.text
