"""A shortage here is not a failure of the target, with real sockets; and a failure that only resembles a shortage is one."""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule
from chaski_runtime.process import descriptors
from chaski_worker.delivery.clients import ClientCertificate
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import plain_socket
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason
from contract.delivery.targets import OK, Certificates, DelivererSetup, FakeResolver, Target, post, responding

Serve = Callable[..., Awaitable[Target]]
MakeSetup = Callable[..., DelivererSetup]
BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


async def _shortage(setup: DelivererSetup, url: str) -> Shortage:
    with pytest.raises(ShortageError) as raised:
        await setup.deliverer.deliver(post(url))
    return raised.value.shortage


def _lowest_free() -> int:
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    return lowest


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """All descriptors of this process are in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.promise(4)
async def test_a_missing_descriptor_for_a_socket_is_a_shortage(serve: Serve, make_setup: MakeSetup) -> None:
    """The real limit: no request was sent, so no outcome exists."""
    target = await serve(responding(OK))
    made = make_setup(target.url())
    with no_descriptors():
        shortage = await _shortage(made, target.url())
    assert (shortage.reason, shortage.target) == (ShortageReason.DESCRIPTORS, "rule0")
    assert "Too many open files" in shortage.detail
    assert target.connections == 0
    assert (await made.deliverer.deliver(post(target.url()))).delivered


async def test_a_missing_descriptor_for_the_issuers_certificate_is_a_shortage(
    serve: Serve, make_setup: MakeSetup, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL opens the system's certificates on demand, and reports a file that it can't open as missing."""
    target = await serve(responding(OK), tls=certificates.server("issued"))
    url = f"https://target.test:{target.port}/"
    made = make_setup(url, resolver=FakeResolver({"target.test": [["127.0.0.1"]]}))
    assert (await made.deliverer.deliver(post(url))).key == "tls"
    monkeypatch.setattr(descriptors, "are_short", lambda: True)
    assert (await _shortage(made, url)).reason is ShortageReason.DESCRIPTORS


async def test_the_last_descriptors_are_reserved(serve: Serve, make_setup: MakeSetup) -> None:
    """A socket whose number reaches the ceiling is closed and not used."""
    target = await serve(responding(OK))
    made = make_setup(target.url(), ceiling=_lowest_free())
    lowest = _lowest_free()
    assert (await _shortage(made, target.url())).reason is ShortageReason.DESCRIPTORS
    assert _lowest_free() == lowest


NUMBERS = [
    (errno.EMFILE, ShortageReason.DESCRIPTORS),
    (errno.ENFILE, ShortageReason.DESCRIPTORS),
    (errno.ENOBUFS, ShortageReason.MEMORY),
    (errno.ENOMEM, ShortageReason.MEMORY),
    (errno.EAGAIN, ShortageReason.MEMORY),
    (errno.EADDRNOTAVAIL, ShortageReason.PORTS),
]
ORDERS = pytest.mark.parametrize("order", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]], ids=str)


class Refusing(socket.socket):
    """A socket that the system does not connect."""

    number = 0

    def connect(self, address: object) -> None:
        """Fails, with the number that the test chose."""
        del address
        raise OSError(self.number, os.strerror(self.number))


class RefusingRecorded(addresses._Socket, Refusing):
    """The worker's socket on top of it."""


def _failing(address: str, number: int, where: str) -> Callable[[AddrInfoType], socket.socket]:
    """Makes sockets; those for one address fail with this errno, at creation or at connect."""

    def make(info: AddrInfoType) -> socket.socket:
        if info[4][0] != address:
            return plain_socket(info)
        if where == "made":
            raise OSError(number, os.strerror(number))
        refusing = RefusingRecorded(info[0], info[1], info[2])
        refusing.number = number
        return refusing

    return make


@pytest.mark.promise(4)
@pytest.mark.parametrize(("number", "reason"), NUMBERS, ids=lambda each: errno.errorcode.get(each, str(each)))
@pytest.mark.parametrize("where", ["made", "connected"])
@ORDERS
async def test_a_shortage_at_one_address_and_a_refusal_at_another(
    make_setup: MakeSetup, unused_tcp_port: int, number: int, reason: ShortageReason, where: str, order: list[str]
) -> None:
    """Nothing is known about the address that was not tried, so the other one's refusal does not decide."""
    url = f"http://target.test:{unused_tcp_port}/"
    made = make_setup(
        url, resolver=FakeResolver({"target.test": [order]}), make_socket=_failing("127.0.0.1", number, where)
    )
    assert (await _shortage(made, url)).reason is reason


@pytest.mark.parametrize("number", [number for number, _ in NUMBERS], ids=errno.errorcode.get)
@ORDERS
async def test_a_shortage_at_one_address_and_a_response_from_another(
    serve: Serve, make_setup: MakeSetup, number: int, order: list[str]
) -> None:
    """The response is the target's, and so is a missing one after the connection."""
    good = await serve(responding(OK), address="127.0.0.2")
    silent = await serve(responding(b""), address="127.0.0.2")
    for target, key in ((good, ""), (silent, "timeout")):
        url = f"http://target.test:{target.port}/"
        resolver = FakeResolver({"target.test": [order]})
        made = make_setup(url, resolver=resolver, make_socket=_failing("127.0.0.1", number, "made"))
        assert (await made.deliverer.deliver(post(url))).key == key


async def test_a_missing_source_address_is_not_a_shortage_of_ports(
    make_setup: MakeSetup, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EADDRNOTAVAIL has two meanings. A host without IPv6 that calls ::1 would wait forever."""
    monkeypatch.setattr(addresses, "_has_source_for", lambda *_: False)
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    made = make_setup(url, make_socket=_failing("127.0.0.1", errno.EADDRNOTAVAIL, "connected"))
    assert (await made.deliverer.deliver(post(url))).key == "connection"


class FailingResolver(AbstractResolver):
    """A resolver that raises the given error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Fails."""
        del host, port, family
        raise self.error

    async def close(self) -> None:
        """Nothing to close."""


LOOKUPS = [
    pytest.param(socket.gaierror(socket.EAI_MEMORY, "Memory"), ShortageReason.MEMORY, id="EAI_MEMORY"),
    pytest.param(socket.gaierror(socket.EAI_SYSTEM, "System"), ShortageReason.RESOLVER, id="EAI_SYSTEM"),
    pytest.param(OSError(errno.EMFILE, "Too many open files"), ShortageReason.DESCRIPTORS, id="EMFILE"),
    pytest.param(RuntimeError("can't start new thread"), ShortageReason.THREADS, id="thread"),
    pytest.param(MemoryError(), ShortageReason.MEMORY, id="MemoryError"),
]


@pytest.mark.promise(4)
@pytest.mark.parametrize(("error", "reason"), LOOKUPS)
async def test_a_lookup_that_can_not_be_made_is_a_shortage(
    make_setup: MakeSetup, error: Exception, reason: ShortageReason
) -> None:
    """Also for those that wait for the same lookup."""
    made = make_setup("http://target.test/", resolver=FailingResolver(error))
    found = await asyncio.gather(*(_shortage(made, "http://target.test/") for _ in range(5)))
    assert {each.reason for each in found} == {reason}


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_NONAME], ids=["EAI_AGAIN", "EAI_NONAME"])
async def test_a_failing_name_server_is_not_a_shortage(make_setup: MakeSetup, number: int) -> None:
    """The owner of the name runs it."""
    made = make_setup("http://target.test/", resolver=FailingResolver(socket.gaierror(number, "words")))
    outcome = await made.deliverer.deliver(post("http://target.test/"))
    assert (outcome.key, outcome.detail) == ("connection", "no address for target.test: words")


@pytest.mark.promise(9)
@pytest.mark.parametrize("bundle", [BROKEN, "no PEM at all", "ä"], ids=["broken", "text", "not ASCII"])
async def test_an_unusable_bundle_affects_only_its_rule(serve: Serve, make_setup: MakeSetup, bundle: str) -> None:
    """Its messages wait; those under other rules are delivered."""
    target = await serve(responding(OK))
    url = f"https://target.test:{target.port}/"
    resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
    made = make_setup(AllowRule("rule", url, ca_bundle=bundle), AllowRule("other", target.url()), resolver=resolver)
    for _ in range(2):
        shortage = await _shortage(made, url)
        assert (shortage.reason, shortage.target) == (ShortageReason.CERTIFICATE, "rule")
        assert 'the caBundle of targets.allow "rule"' in shortage.detail
    assert target.connections == 0
    assert (await made.deliverer.deliver(post(target.url()))).delivered


@pytest.fixture
async def mutual(serve: Serve, certificates: Certificates) -> Target:
    """A target that requires the certificate `right`."""
    context = certificates.server("right")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=certificates.pem("right"))
    return await serve(responding(OK), tls=context)


@pytest.mark.promise(9)
async def test_messages_wait_for_a_client_certificate(
    mutual: Target, make_setup: MakeSetup, certificates: Certificates, tmp_path: Path
) -> None:
    """Missing, then half written, then with the key of another one, then valid: only then something is sent."""
    url = f"https://target.test:{mutual.port}/"
    rule = AllowRule("rule", url, ca_bundle=certificates.pem("right"), client_cert_secret_name="client")
    shown = ClientCertificate(rule, tmp_path, lambda: 0.0)
    resolver = FakeResolver({"target.test": [["127.0.0.1"]]})
    made = make_setup(rule, resolver=resolver, certificates={rule: shown}, timeout=10)

    async def waits() -> str:
        shortage = await _shortage(made, url)
        assert (shortage.reason, shortage.target) == (ShortageReason.CERTIFICATE, "rule")
        return shortage.detail

    assert "there is no tls.crt" in await waits()
    (tmp_path / "tls.crt").write_text(certificates.pem("right")[:100])
    (tmp_path / "tls.key").write_text("")
    await waits()
    shutil.copy(certificates.folder / "right.crt", tmp_path / "tls.crt")
    shutil.copy(certificates.folder / "wrong.key", tmp_path / "tls.key")
    await waits()
    assert mutual.connections == 0
    shutil.copy(certificates.folder / "right.key", tmp_path / "tls.key")
    outcome: Outcome = await made.deliverer.deliver(post(url))
    assert (outcome.delivered, outcome.detail) == (True, "HTTP 200 OK")
