"""Which errors are shortages of our own, and which are the target's."""

import errno
import socket
import ssl

import pytest

from chaski_runtime.http.errors import ConnectFailedError, DisconnectedError, LookupFailedError
from chaski_worker.shortage.detection import ShortageReason, has_name_server, shortage_in


def _connecting(cause: OSError) -> ConnectFailedError:
    error = ConnectFailedError("target.test", 443, cause)
    error.__cause__ = cause
    return error


def _lookup(cause: OSError) -> LookupFailedError:
    error = LookupFailedError("target.test", cause)
    error.__cause__ = cause
    return error


def _handshake(cause: ssl.SSLError) -> ConnectFailedError:
    error = ConnectFailedError("target.test", 443, cause)
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
    DisconnectedError(),
    TimeoutError(),
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ValueError("malloc failure"),
]


@pytest.mark.promise(4)
@pytest.mark.parametrize(("error", "reason"), OURS, ids=repr)
def test_shortages_of_our_own(error: Exception, reason: ShortageReason) -> None:
    """However the client has wrapped it, and with a detail."""
    found = shortage_in(error)
    assert found is not None
    assert found.reason is reason
    assert found.detail


@pytest.mark.parametrize("error", THEIRS, ids=repr)
def test_failures_of_the_target(error: Exception) -> None:
    """A name server that fails or does not know the name, and every failure of the target or the network."""
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
    """Comments and incomplete lines do not count."""
    assert has_name_server(text) is named
