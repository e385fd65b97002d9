"""Credentials of rules with a real worker, a real token endpoint and a real target; nothing that is kept has a secret."""

import asyncio
import base64
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from support.metric_pages import value
from support.processes.dev import CHASKI, DevServer, dead_letters, route, send_batch, wait_until
from support.serving import served_app

pytestmark = pytest.mark.landing
CLIENT_ID, CLIENT_SECRET = "client-of-chaski", "client/secret+7f3a9c"
FIRST_KEY, SECOND_KEY = "Key first-key-of-the-header-rule", "Key second-key-of-the-header-rule"
THEIRS = "Bearer credential-of-the-producer"


@dataclass
class World:
    """A token endpoint and a target."""

    url: str = ""
    lifetime: int = 3_600
    available: bool = True
    issued: list[str] = field(default_factory=list)
    issued_at: float = 0.0
    revoked: set[str] = field(default_factory=set)
    key: str = FIRST_KEY
    seen: list[tuple[str, str, str, int]] = field(default_factory=list)  # path, Authorization, attempt, status

    async def token(self, request: web.Request) -> web.Response:
        """RFC 6749 §4.4."""
        pair = base64.b64encode(f"{quote(CLIENT_ID, safe='')}:{quote(CLIENT_SECRET, safe='')}".encode()).decode()
        if not self.available:
            return web.Response(status=503, text=str(request.headers))
        if request.headers.get("Authorization") != f"Basic {pair}":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.issued.append(f"access-token-{len(self.issued)}-{os.urandom(8).hex()}")
        self.issued_at = monotonic()
        shown = {"access_token": self.issued[-1], "token_type": "Bearer", "expires_in": self.lifetime}
        return web.json_response(shown)

    async def target(self, request: web.Request) -> web.Response:
        """Repeats what it was sent, as a careless target does."""
        given = request.headers.get("Authorization", "")
        status = 200
        if request.path.startswith("/oauth"):
            token = given.removeprefix("Bearer ")
            status = 200 if token in self.issued and token not in self.revoked else 401
        elif request.path.startswith("/header"):
            status = 200 if given == self.key else 401
        if request.path.endswith("/bad"):
            status = 400
        self.seen.append((request.path, given, request.headers["Chaski-Attempt"], status))
        return web.Response(status=status, text=f"you sent {given} and {list(request.headers.items())}")

    def of(self, path: str) -> list[tuple[str, str, int]]:
        """What the target got at a path: Authorization, attempt, status."""
        return [(given, attempt, status) for at, given, attempt, status in self.seen if at == path]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Both, on one port."""
    made = World()
    app = web.Application()
    app.router.add_post("/token", made.token)
    app.router.add_post("/{rest:.*}", made.target)
    async with served_app(app) as made.url:
        yield made


def document(url: str) -> dict[str, object]:
    """One rule with OAuth 2.0, one with a header, one without credentials."""
    private = {"cidrs": ["127.0.0.0/8"]}
    header = {"name": "Authorization", "secretName": "header-keys", "key": "value"}
    oauth2 = {"tokenURL": f"{url}/token", "secretName": "client", "scopes": ["in"], **private}
    allow = [
        {"name": "oauth", "url": f"{url}/oauth/", **private, "auth": {"oauth2": oauth2}},
        {"name": "header", "url": f"{url}/header/", **private, "auth": {"headers": [header]}},
        {"name": "plain", "url": f"{url}/plain/"},
    ]
    return route("r", url, targets={"allow": allow})


def write_secrets(folder: Path) -> None:
    """As a kubelet mounts them."""
    for name, content in (("client/client-id", CLIENT_ID), ("client/client-secret", CLIENT_SECRET)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content + "\n")
    (folder / "header-keys").mkdir()
    (folder / "header-keys" / "value").write_text(FIRST_KEY + "\n")


async def printed(*arguments: str | Path) -> bytes:
    """What a command of `chaski` prints."""
    process = await asyncio.create_subprocess_exec(CHASKI, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    out, error = await process.communicate()
    assert process.returncode == 0, error
    return out + error


@dataclass
class Stand:
    """A running `chaski dev`, with its token endpoint and target."""

    it: World
    server: DevServer
    http: aiohttp.ClientSession
    secrets: Path

    async def send(self, path: str) -> None:
        """A message with a credential of its own, on a subject of its own."""
        body = {"url": self.it.url + path, "headers": {"authorization": THEIRS}}
        (result,) = await send_batch(self.http, self.server.url, "t/r", [{"subject": path, "body": body}])
        assert result["status"] == 202

    async def sent(self, path: str, requests: int = 1) -> list[tuple[str, str, int]]:
        """The requests for a message, once there are that number."""
        await self.send(path)
        await wait_until(lambda: len(self.it.of(path)) == requests, within=120)
        return self.it.of(path)

    async def token_ends(self) -> None:
        """Waits for the end of the last token, which was issued for three seconds."""
        await asyncio.sleep(max(0.0, self.it.issued_at + 3.5 - monotonic()))

    async def page(self) -> str:
        """The metrics."""
        async with self.http.get(self.server.metrics_url) as answer:
            return await answer.text()


@asynccontextmanager
async def stand(folder: Path) -> AsyncIterator[Stand]:
    """A running one."""
    secrets = folder / "secrets"
    write_secrets(secrets)
    async with world() as it, aiohttp.ClientSession() as http:
        server = DevServer(folder, document(it.url), options=("--secrets", secrets))
        await server.start()
        try:
            yield Stand(it, server, http, secrets)
        finally:
            await server.end()


async def each_rule_sends_its_own(on: Stand) -> None:
    """And a rule without credentials what the message has."""
    assert await on.sent("/header/1") == [(FIRST_KEY, "1", 200)]
    assert await on.sent("/plain/1") == [(THEIRS, "1", 200)]
    assert await on.sent("/oauth/1") == [(f"Bearer {on.it.issued[0]}", "1", 200)]


async def a_token_is_revoked_and_one_expires(on: Stand) -> None:
    """Revoked: one repetition with another token, within attempt 1. Expired: another token before the request."""
    it = on.it
    it.lifetime = 3
    it.revoked.add(it.issued[0])
    revoked, renewed = await on.sent("/oauth/2", 2)
    assert (revoked, renewed[1:]) == ((f"Bearer {it.issued[0]}", "1", 401), ("1", 200))
    before = len(it.issued)
    await on.token_ends()
    [(given, _, status)] = await on.sent("/oauth/3")
    assert (given, status) == (f"Bearer {it.issued[-1]}", 200)
    assert len(it.issued) > before


async def the_endpoint_is_unavailable(on: Stand) -> None:
    """The rule's messages wait, and no others do; nothing is charged."""
    it, waiting = on.it, ("/oauth/4", "/oauth/5")
    it.available = False
    await on.token_ends()
    for path in waiting:
        await on.send(path)
    async with asyncio.timeout(120):
        while value(await on.page(), "chaski_shortage", reason="credentials", target="oauth") != 1:
            await asyncio.sleep(0.2)
    assert await on.sent("/plain/2") == [(THEIRS, "1", 200)]
    assert [it.of(path) for path in waiting] == [[], []]
    it.available, it.lifetime = True, 3_600
    await wait_until(lambda: all(it.of(path) for path in waiting), within=180)
    for path in waiting:
        assert [(attempt, status) for _, attempt, status in it.of(path)] == [("1", 200)]


async def a_secret_is_rotated(on: Stand) -> None:
    """Its file is read at once after a 401, unless it was read just before."""
    on.it.key = SECOND_KEY
    (on.secrets / "header-keys" / "value").write_text(SECOND_KEY)
    await on.send("/header/2")
    await wait_until(lambda: (SECOND_KEY, "1", 200) in on.it.of("/header/2"), within=120)
    assert on.it.of("/header/2")[:-1] in ([], [(FIRST_KEY, "1", 401)])


async def outputs_of_commands(on: Stand) -> list[bytes]:
    """All that the commands print about messages to a target that repeats the credential in its response."""
    for path in ("/oauth/bad", "/header/bad"):
        await on.sent(path, 3)
    async with asyncio.timeout(180):
        while len(kept := await dead_letters(on.server.data)) < 2:
            await asyncio.sleep(0.2)
    assert {each["class"] for each in kept} == {"400"}
    commands = [("dead-letters", "list"), ("dead-letters", "export"), ("trace", "--subject", "/oauth/bad")]
    commands += [("dead-letters", "show", each["messageId"]) for each in kept]
    return [await printed(*command, "--data", on.server.data) for command in commands]


@pytest.mark.timeout(900)
@pytest.mark.promise(4)
@pytest.mark.promise(14)
async def test_credentials_are_renewed_awaited_and_kept_nowhere(tmp_path: Path) -> None:
    """Revoked, expired, endpoint unavailable, rotated; then logs, data, metrics, dead letters and exports are searched."""
    async with stand(tmp_path) as on:
        await each_rule_sends_its_own(on)
        await a_token_is_revoked_and_one_expires(on)
        await the_endpoint_is_unavailable(on)
        await a_secret_is_rotated(on)
        outputs = [*await outputs_of_commands(on), (await on.page()).encode()]
        assert await on.server.stop() == 0
    log = on.server.log.read_bytes()
    assert log.count(b'"event.action":"shortage"') == 1
    data = [file.read_bytes() for file in sorted(on.server.data.rglob("*")) if file.is_file()]
    found = b"\n".join([log, *outputs, *data])
    assert b"you sent [redacted]" in found or b"you sent Bearer [redacted]" in found
    for secret in (CLIENT_SECRET, FIRST_KEY, SECOND_KEY, FIRST_KEY.removeprefix("Key "), *on.it.issued):
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]):
            assert form.encode() not in found
