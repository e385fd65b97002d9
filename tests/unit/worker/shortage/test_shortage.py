"""What is ours and what is the target's: the table, and the decisions over it."""

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from chaski_runtime.process import descriptors
from chaski_worker.shortage.capacity import too_few_descriptors
from chaski_worker.shortage.classify import Shortage, ShortageReason, names_a_server, shortage_in
from chaski_worker.shortage.waiting import hidden_seconds, is_crowded

KEY = ConnectionKey("target.test", 443, True, True, None, None, None)


def _connecting(cause: OSError) -> aiohttp.ClientConnectorError:
    error = aiohttp.ClientConnectorError(KEY, cause)
    error.__cause__ = cause
    return error


def _lookup(cause: OSError) -> aiohttp.ClientConnectorDNSError:
    error = aiohttp.ClientConnectorDNSError(KEY, cause)
    error.__cause__ = cause
    return error


def _handshake(cause: ssl.SSLError) -> aiohttp.ClientConnectorSSLError:
    error = aiohttp.ClientConnectorSSLError(KEY, cause)
    error.__cause__ = cause
    return error


OURS = [
    (_connecting(OSError(errno.EMFILE, "Too many open files")), ShortageReason.DESCRIPTORS),
    (_connecting(OSError(errno.ENFILE, "Too many open files in system")), ShortageReason.DESCRIPTORS),
    (_connecting(OSError(errno.ENOBUFS, "No buffer space available")), ShortageReason.MEMORY),
    (_connecting(OSError(errno.ENOMEM, "Cannot allocate memory")), ShortageReason.MEMORY),
    (_connecting(ConnectionError(errno.EAGAIN, "Resource temporarily unavailable")), ShortageReason.MEMORY),
    (_lookup(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure")), ShortageReason.MEMORY),
    (_lookup(socket.gaierror(socket.EAI_SYSTEM, "System error")), ShortageReason.RESOLVER),
    (_lookup(OSError(errno.EMFILE, "Too many open files")), ShortageReason.DESCRIPTORS),
    (_handshake(ssl.SSLError(1, "[X509] malloc failure (_ssl.c:1006)")), ShortageReason.MEMORY),
    (RuntimeError("can't start new thread"), ShortageReason.THREADS),
    (MemoryError(), ShortageReason.MEMORY),
    (OSError(errno.ENOBUFS, "No buffer space available"), ShortageReason.MEMORY),
]
THEIRS = [
    _connecting(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
    _connecting(OSError(errno.EHOSTUNREACH, "No route to host")),
    _connecting(OSError(errno.ENETUNREACH, "Network is unreachable")),
    _connecting(TimeoutError(errno.ETIMEDOUT, "Connection timed out")),
    _connecting(OSError(errno.EACCES, "127.0.0.1 is not dialled")),
    _lookup(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
    _lookup(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    _lookup(socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution")),
    _handshake(ssl.SSLError(errno.EMFILE, "[SSL: TLSV1_ALERT_INTERNAL_ERROR]")),  # its number is OpenSSL's
    _handshake(ssl.SSLCertVerificationError(1, "certificate verify failed")),
    aiohttp.ServerDisconnectedError(),
    TimeoutError(),
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ValueError("malloc failure"),
]


@pytest.mark.promise(4)
@pytest.mark.parametrize(("error", "reason"), OURS, ids=repr)
def test_what_is_ours(error: Exception, reason: ShortageReason) -> None:
    """However aiohttp has wrapped it, and with a detail."""
    found = shortage_in(error)
    assert found is not None
    assert found.reason is reason
    assert found.detail


@pytest.mark.parametrize("error", THEIRS, ids=repr)
def test_what_is_the_targets(error: Exception) -> None:
    """A name server that fails or knows no such name, and whatever the target or the way to it does."""
    assert shortage_in(error) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", False),
        ("search a.test\noptions ndots:5\n", False),
        ("#nameserver 192.0.2.1\n", False),
        ("nameserver\n", False),
        ("search a.test\n\tnameserver 192.0.2.1\n", True),
        ("nameserver fe80::1%eth0", True),
    ],
)
def test_whether_a_name_server_is_configured(text: str, named: bool) -> None:
    """Comments and half lines are none."""
    assert names_a_server(text) is named


def test_lanes_make_room_for_those_that_a_shortage_does_not_concern() -> None:
    """One that concerns all waits in place until polling has stopped; one of a single rule takes half of the room."""
    general = Shortage(ShortageReason.DESCRIPTORS, "", "t")
    of_one = [Shortage(reason, "", "t") for reason in (ShortageReason.CERTIFICATE, ShortageReason.PORTS)]
    assert not is_crowded(general, 127, 128, full=False)
    assert is_crowded(general, 128, 128, full=True)
    for shortage in of_one:
        assert not is_crowded(shortage, 64, 128, full=False)
        assert is_crowded(shortage, 65, 128, full=False)


def test_the_longer_a_shortage_lasts_the_longer_lanes_are_hidden() -> None:
    """But never for longer than a minute, so that they come back soon after it ends."""
    assert [hidden_seconds(lasted) for lasted in (0, 4, 20, 60, 119, 120, 86_400)] == [5, 5, 10, 30, 60, 60, 60]


def test_a_concurrency_that_the_limit_can_not_serve_is_told_with_the_fix() -> None:
    """For every consumer of the process; no limit serves all."""
    assert too_few_descriptors(1_024, 2, 20_000) is None
    assert too_few_descriptors(1_024, 1, None) is None
    assert too_few_descriptors(64, 2, 256) is None
    found = too_few_descriptors(1_024, 1, 1_024)
    assert found is not None
    assert "concurrencyPerPod 1024" in found
    assert "set concurrencyPerPod to 928" in found
    assert "ulimit -Hn" in found
    assert too_few_descriptors(81, 2, 256) is not None


def test_a_part_of_the_descriptors_is_not_for_deliveries() -> None:
    """64 of many, a quarter of few."""
    assert [descriptors.ceiling(limit) for limit in (None, 64, 256, 1_024, 1_048_576)] == [
        None,
        48,
        192,
        960,
        1_048_512,
    ]
