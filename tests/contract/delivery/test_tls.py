"""Certificates are checked, and what fails in a handshake is class `tls`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chaski_core.outcome import Outcome
from chaski_core.route.model import AllowRule
from contract.delivery.targets import OK, Certificates, FakeResolver, Handler, Lab, Target, answering, post

Serve = Callable[..., Awaitable[Target]]
MakeLab = Callable[..., Lab]


async def _attempt(lab: MakeLab, target: Target, ca_bundle: str | None = None) -> Outcome:
    url = f"https://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
    return await lab(AllowRule("rule", url, ca_bundle=ca_bundle), resolver=resolver).deliverer.deliver(post(url))


async def test_a_certificate_of_the_rules_own_bundle_is_trusted(
    serve: Serve, lab: MakeLab, certificates: Certificates
) -> None:
    """A private authority is named by the rule."""
    target = await serve(answering(OK), tls=certificates.server("right"))
    outcome = await _attempt(lab, target, certificates.pem("right"))
    assert (outcome.key, outcome.status) == ("", 200)


@pytest.mark.parametrize(
    ("served", "trusted", "words"),
    [
        pytest.param("right", None, "self-signed certificate", id="self-signed"),
        pytest.param("right", "wrong", "self-signed certificate", id="another authority"),
        pytest.param("wrong", "wrong", "Hostname mismatch", id="wrong host"),
    ],
)
async def test_a_certificate_that_can_not_be_trusted_is_a_tls_error(
    serve: Serve, lab: MakeLab, certificates: Certificates, served: str, trusted: str | None, words: str
) -> None:
    """No request is sent, and the detail says what is wrong with the certificate."""
    target = await serve(answering(OK), tls=certificates.server(served))
    outcome = await _attempt(lab, target, trusted and certificates.pem(trusted))
    assert outcome.key == "tls"
    assert words in outcome.detail
    assert target.requests == []


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
    del writer, target
    await reader.read(1)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
    del target
    await reader.read(1)
    writer.transport.abort()


async def _plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
    del target
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("handler", [_close, _reset, _plain], ids=["closes", "resets", "speaks no TLS"])
async def test_a_handshake_that_fails_is_a_tls_error(serve: Serve, lab: MakeLab, handler: Handler) -> None:
    """Also where the target just goes away in it."""
    outcome = await _attempt(lab, await serve(handler))
    assert (outcome.key, outcome.status) == ("tls", None)


async def test_nothing_listens_on_the_port_of_an_https_target(lab: MakeLab, unused_tcp_port: int) -> None:
    """There was no handshake to fail: class `connection`."""
    outcome = await _attempt(lab, Target("127.0.0.1", unused_tcp_port))
    assert outcome.key == "connection"


async def test_a_handshake_that_hangs_is_a_timeout(serve: Serve, lab: MakeLab) -> None:
    """No answer in time is no answer in time."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        del writer, target
        while await reader.read(1_000):
            pass

    outcome = await _attempt(lab, await serve(hang))
    assert outcome.key == "timeout"


async def test_a_bundle_that_can_not_be_read_is_a_tls_error(serve: Serve, lab: MakeLab) -> None:
    """The message is not lost by it, and the next attempt says the same."""
    target = await serve(answering(OK))
    outcome = await _attempt(lab, target, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert outcome.key == "tls"
    assert target.connections == 0
