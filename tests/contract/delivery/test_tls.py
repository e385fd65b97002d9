"""Certificates are verified, and a failed handshake is class `tls`."""

import asyncio
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule
from chaski_worker.delivery.clients import ClientCertificate
from contract.delivery.targets import OK, Certificates, DelivererSetup, FakeResolver, Handler, Target, post, responding

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]


async def _attempt(make_setup: MakeSetup, target: Target, ca_bundle: str | None = None) -> Outcome:
    url = f"https://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
    return await make_setup(AllowRule("rule", url, ca_bundle=ca_bundle), resolver=resolver).deliverer.deliver(post(url))


async def test_a_certificate_of_the_rules_own_bundle_is_trusted(
    serve: Serve, make_setup: MakeSetup, certificates: Certificates
) -> None:
    """A private authority is configured in the rule."""
    target = await serve(responding(OK), tls=certificates.server("right"))
    outcome = await _attempt(make_setup, target, certificates.pem("right"))
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
    serve: Serve, make_setup: MakeSetup, certificates: Certificates, served: str, trusted: str | None, words: str
) -> None:
    """No request is sent, and the detail says what is wrong with the certificate."""
    target = await serve(responding(OK), tls=certificates.server(served))
    outcome = await _attempt(make_setup, target, trusted and certificates.pem(trusted))
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
async def test_a_handshake_that_fails_is_a_tls_error(serve: Serve, make_setup: MakeSetup, handler: Handler) -> None:
    """Also where the target closes the connection during the handshake."""
    outcome = await _attempt(make_setup, await serve(handler))
    assert (outcome.key, outcome.status) == ("tls", None)


async def test_a_closed_port_of_an_https_target_is_a_connection_error(
    make_setup: MakeSetup, unused_tcp_port: int
) -> None:
    """There was no handshake that could fail: class `connection`."""
    outcome = await _attempt(make_setup, Target("127.0.0.1", unused_tcp_port))
    assert outcome.key == "connection"


async def test_a_handshake_that_hangs_is_a_timeout(serve: Serve, make_setup: MakeSetup) -> None:
    """It is class `timeout`, not `tls`."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        del writer, target
        while await reader.read(1_000):
            pass

    outcome = await _attempt(make_setup, await serve(hang))
    assert outcome.key == "timeout"


def _asking_for(certificates: Certificates, trusted: str) -> ssl.SSLContext:
    context = certificates.server("right")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=certificates.pem(trusted))
    return context


def _mount(certificates: Certificates, name: str, folder: Path) -> None:
    for ending in ("crt", "key"):
        shutil.copy(certificates.folder / f"{name}.{ending}", folder / f"tls.{ending}")


async def test_a_rule_presents_its_certificate_and_loads_a_renewed_one(
    serve: Serve, make_setup: MakeSetup, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From the mounted Secret. Unusable files, such as a key of another certificate, change nothing."""
    folder, now = tmp_path_factory.mktemp("client"), 0.0
    target = await serve(responding(OK, then_close=True), tls=_asking_for(certificates, "wrong"))
    url = f"https://target.test:{target.port}/"
    rule = AllowRule("rule", url, ca_bundle=certificates.pem("right"), client_cert_secret_name="client")
    _mount(certificates, "right", folder)
    shown = ClientCertificate(rule, folder, lambda: now)
    resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
    deliverer = make_setup(rule, resolver=resolver, certificates={rule: shown}, timeout=10).deliverer

    assert (await deliverer.deliver(post(url))).key in (
        "tls",
        "connection",
    )  # TLS 1.3 reports it only after the handshake
    assert target.requests == []
    _mount(certificates, "wrong", folder)
    now = 10.0
    assert (await deliverer.deliver(post(url))).delivered
    shutil.copy(certificates.folder / "right.crt", folder / "tls.crt")
    now = 20.0
    assert (await deliverer.deliver(post(url))).delivered
