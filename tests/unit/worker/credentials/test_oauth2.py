"""Access tokens by client credentials, from a token endpoint on 127.0.0.1."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from chaski_core.route.model import ClientAuthentication, OAuth2
from chaski_worker.credentials.oauth2 import ClientCredentials
from chaski_worker.credentials.source import Credential
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.guard.addresses import AddressTables
from chaski_worker.shortage.detection import ShortageError, ShortageReason
from contract.delivery.targets import FakeResolver
from support.clocks import StillClock
from support.kube.certificates import make_all
from support.serving import served_app
from unit.worker.credentials.attempts import RULE, attempt

SECRET = "s3cr:et/%+"


@dataclass
class Endpoint:
    """A token endpoint that the test scripts."""

    url: str = ""
    response: Callable[[int], dict[str, Any]] = lambda n: {
        "access_token": f"token-{n}",
        "token_type": "Bearer",
        "expires_in": 3600,
    }
    status: int = 200
    raw: bytes | None = None
    location: str = ""
    seen: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)  # headers and form

    async def handle(self, request: web.Request) -> web.Response:
        """One request for a token."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.seen.append((dict(request.headers), form))
        if self.location:
            return web.Response(status=self.status, headers={"Location": self.location})
        if self.raw is not None:
            return web.Response(status=self.status, body=self.raw)
        return web.json_response(self.response(len(self.seen)), status=self.status)


@dataclass
class Stand:
    """An endpoint, a source and its clock."""

    endpoint: Endpoint
    folder: Path
    clients: TargetClients
    clock: StillClock = field(default_factory=StillClock)

    def source(
        self, permit_loopback: bool = True, resolver: AbstractResolver | None = None, **changes: Any
    ) -> ClientCredentials:
        """A source; `changes` replace parts of its settings."""
        settings = replace(OAuth2(self.endpoint.url, "client", cidrs=("127.0.0.0/8",)), **changes)
        clients = self.clients
        if not permit_loopback:
            clients = TargetClients(AddressTables(), user_agent="test", resolver=resolver)
        return ClientCredentials(
            RULE,
            settings,
            self.folder,
            clients=clients,
            clock=self.clock,
            denied_hosts={"kubernetes.default.svc"},
            random=lambda: 0.5,
        )


@contextlib.asynccontextmanager
async def started(tmp_path: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stand]:
    """A running endpoint, and the client's Secret."""
    (tmp_path / "client-id").write_text("ch:aski")
    (tmp_path / "client-secret").write_text(SECRET + "\n")
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/token", endpoint.handle)
    clients = TargetClients(AddressTables(permit_loopback=True), user_agent="test")
    async with served_app(app, tls) as url:
        endpoint.url = f"{url}/token"
        yield Stand(endpoint, tmp_path, clients)
        await clients.close()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A running endpoint without TLS."""
    async with started(tmp_path) as running:
        yield running


def token(credential: Credential) -> str:
    """The token in a credential."""
    [(name, value)] = credential.headers
    assert name == "Authorization"
    return value.removeprefix("Bearer ")


async def shortage(source: ClientCredentials) -> str:
    """The detail of the shortage that prevents an attempt; it never has a secret."""
    with pytest.raises(ShortageError) as raised:
        await source.credential(attempt())
    found = raised.value.shortage
    assert (found.reason, found.target, found.of_one_target) == (ShortageReason.CREDENTIALS, "crm", True)
    assert SECRET not in found.detail
    assert "token-" not in found.detail
    return found.detail


async def test_a_token_is_requested_once_and_cached(stand: Stand) -> None:
    """As RFC 6749 §4.4.2 has it, with id and secret encoded as forms before base64 (§2.3.1)."""
    source = stand.source(scopes=("a:b", "c"), audience="https://api.example")
    credentials = await asyncio.gather(*(source.credential(attempt()) for _ in range(20)))
    assert {token(each) for each in credentials} == {"token-1"}
    [(headers, form)] = stand.endpoint.seen
    assert form == {"grant_type": "client_credentials", "scope": "a:b c", "audience": "https://api.example"}
    user, _, password = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    assert (user, password) == ("ch%3Aaski", "s3cr%3Aet%2F%25%2B")


async def test_id_and_secret_may_be_sent_in_the_body(stand: Stand) -> None:
    """For servers that take nothing else."""
    await stand.source(client_authentication=ClientAuthentication.POST).credential(attempt())
    [(headers, form)] = stand.endpoint.seen
    assert "Authorization" not in headers
    assert form == {"grant_type": "client_credentials", "client_id": "ch:aski", "client_secret": SECRET}


async def test_a_token_is_renewed_before_it_expires_and_kept_while_that_fails(stand: Stand) -> None:
    """A minute before; an unavailable endpoint costs nothing before the token's end, and is not called all the time."""
    source = stand.source()
    assert token(await source.credential(attempt())) == "token-1"
    stand.clock.pass_time(3539)
    assert token(await source.credential(attempt())) == "token-1"
    stand.endpoint.status = 503
    stand.clock.pass_time(2)
    for _ in range(5):
        assert token(await source.credential(attempt())) == "token-1"
    assert len(stand.endpoint.seen) == 2
    stand.clock.pass_time(60)
    assert "answered 503 to the request for a token" in await shortage(source)
    stand.endpoint.status = 200
    stand.clock.pass_time(60)
    assert token(await source.credential(attempt())) == "token-4"


async def test_a_short_lived_token_is_renewed_when_a_fifth_is_left(stand: Stand) -> None:
    """And one without a lifetime after four minutes."""
    for lifetime, seconds in ((10, 8), ("10", 8), (None, 240)):
        stand.endpoint.response = lambda n, given=lifetime: {  # type: ignore[misc]
            "access_token": f"token-{n}",
            "token_type": "bearer",
            **({} if given is None else {"expires_in": given}),
        }
        source = stand.source()
        first = token(await source.credential(attempt()))
        stand.clock.pass_time(seconds - 0.5)
        assert token(await source.credential(attempt())) == first
        stand.clock.pass_time(1)
        assert token(await source.credential(attempt())) != first


@pytest.mark.promise(4)
async def test_a_revoked_token_is_replaced_once_a_minute(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """Requests that failed together share the new one; a target that refuses every token does not flood the endpoint."""
    caplog.set_level("INFO")
    source = stand.source()
    first = await source.credential(attempt())
    assert await source.renew(first)
    second = await source.credential(attempt())
    assert await source.renew(first), "another request had it renewed"
    assert token(second) == token(await source.credential(attempt())) == "token-2"
    assert not await source.renew(second)
    stand.clock.pass_time(61)
    assert await source.renew(second)
    assert token(await source.credential(attempt())) == "token-3"
    assert not any("token-" in record.getMessage() for record in caplog.records)


@pytest.mark.promise(4)
async def test_an_endpoint_that_is_unavailable_is_tried_with_pauses(stand: Stand) -> None:
    """While messages wait, and each of them tries every few seconds."""
    stand.endpoint.status = 500
    source = stand.source()
    for _ in range(10):
        await shortage(source)
    assert len(stand.endpoint.seen) == 1
    stand.clock.pass_time(31)
    await shortage(source)
    assert len(stand.endpoint.seen) == 2


@pytest.mark.parametrize(
    ("status", "raw", "words"),
    [
        (401, b'{"error": "invalid_client", "error_description": "s3cr:et/%+"}', "answered 401 invalid_client to"),
        (400, b'{"error": "s3cr:et/%+"}', "answered 400 to"),
        (302, b"", "answered 302 to"),
        (200, b"<html>", "answered without a bearer token"),
        (200, b"[]", "answered without a bearer token"),
        (200, b'{"access_token": "x", "token_type": "mac"}', "answered without a bearer token"),
        (200, b'{"access_token": "a\\r\\nX-Admin: 1", "token_type": "Bearer"}', "answered without a bearer token"),
        (200, b'{"access_token": "", "token_type": "Bearer"}', "answered without a bearer token"),
        (200, b'{"access_token": 7, "token_type": "Bearer"}', "answered without a bearer token"),
        (200, b'{"access_token": "x", "token_type": "Bearer", "pad": "' + b"x" * 70_000, "without a bearer token"),
    ],
)
async def test_a_response_without_a_token_is_described_without_its_text(
    stand: Stand, status: int, raw: bytes, words: str
) -> None:
    """Only codes of RFC 6749 are shown."""
    stand.endpoint.status, stand.endpoint.raw = status, raw
    assert words in await shortage(stand.source())


@pytest.mark.promise(6)
async def test_the_token_endpoint_is_called_under_the_guard(stand: Stand) -> None:
    """Addresses are judged when they are dialled; the API server is never called."""
    assert "127.0.0.1" in await shortage(stand.source(permit_loopback=False, cidrs=("10.0.0.0/8",)))
    for url, words in (
        ("https://kubernetes.default.svc/token", "which no rule opens"),
        ("http://169.254.169.254/token", "is not dialled"),
        ("https://2130706433/token", "is not called"),
    ):
        assert words in await shortage(stand.source(token_url=url, cidrs=()))
    assert stand.endpoint.seen == []


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("answer", "cidrs"),
    [
        ("169.254.169.254", ("0.0.0.0/0",)),  # cloud metadata
        ("fd00:ec2::23", ("::/0",)),  # credentials of EKS Pod Identity
        ("::ffff:169.254.169.254", ("0.0.0.0/0", "::/0")),
        ("127.0.0.1", ("127.0.0.0/8",)),
        ("10.0.0.1", ()),
        ("10.0.0.1", ("10.1.0.0/16",)),
    ],
)
async def test_a_token_endpoint_whose_name_has_a_forbidden_address_gets_no_secret(
    stand: Stand, answer: str, cidrs: tuple[str, ...]
) -> None:
    """Whatever ranges the route allows; a route's author would otherwise read the metadata service with the worker's rights."""
    resolver = FakeResolver({"id.example": [[answer]]})
    source = stand.source(
        permit_loopback=False, resolver=resolver, token_url="https://id.example/latest/api", cidrs=cidrs
    )
    assert " of https://id.example is not dialled: " in await shortage(source)
    assert resolver.asked == ["id.example"]


@pytest.mark.promise(6)
async def test_a_redirect_of_a_token_endpoint_is_not_followed(stand: Stand) -> None:
    """The second address would get the client's secret."""
    stand.endpoint.status, stand.endpoint.location = 307, f"{stand.endpoint.url}?elsewhere"
    assert "answered 307 to the request for a token" in await shortage(stand.source())
    assert len(stand.endpoint.seen) == 1


async def test_a_private_token_endpoint_is_verified_by_its_bundle(tmp_path: Path) -> None:
    """Instead of the system's authorities, and for this endpoint only; another authority's bundle is of no use."""
    for name in ("own", "other"):
        make_all(tmp_path / name, "https://127.0.0.1:1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "own" / "apiserver.crt", tmp_path / "own" / "apiserver.key")
    async with started(tmp_path, tls) as stand:
        own, other = (stand.source(ca_bundle=(tmp_path / each / "ca.crt").read_text()) for each in ("own", "other"))
        assert token(await own.credential(attempt())) == "token-1"
        for untrusted in (other, stand.source()):
            assert ": certificate: " in await shortage(untrusted)
        broken = stand.source(ca_bundle="-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
        assert 'the caBundle of targets.allow "crm:token" can\'t be used' in await shortage(broken)
        assert len(stand.endpoint.seen) == 1


async def test_an_endpoint_that_can_not_be_connected_to_is_named(stand: Stand) -> None:
    """By its origin."""
    detail = await shortage(stand.source(token_url="http://127.0.0.1:1/secret-path"))
    assert "no token from http://127.0.0.1:1: " in detail
    assert "secret-path" not in detail


async def test_a_rotated_client_secret_is_used_for_the_next_token(stand: Stand) -> None:
    """The token that was had before stays in use until its end."""
    source = stand.source(client_authentication=ClientAuthentication.POST)
    await source.credential(attempt())
    (stand.folder / "client-secret").write_text("second")
    stand.clock.pass_time(3600)
    await source.credential(attempt())
    assert [form["client_secret"] for _, form in stand.endpoint.seen] == [SECRET, "second"]


async def test_a_missing_secret_is_named(stand: Stand) -> None:
    """And the endpoint is not called."""
    (stand.folder / "client-secret").unlink()
    assert "client-secret does not exist" in await shortage(stand.source())
    assert stand.endpoint.seen == []
