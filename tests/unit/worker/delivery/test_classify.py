"""From errors to classes: what the sockets of the contract tests can't bring about at will."""

import errno
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from chaski_core.retry.outcome import ErrorClass
from chaski_worker.delivery.classify import failure

KEY = ConnectionKey("target.test", 443, True, True, None, None, None)


def _connecting(cause: OSError) -> aiohttp.ClientConnectorError:
    error = aiohttp.ClientConnectorError(KEY, cause)
    error.__cause__ = cause
    return error


def _lost(cause: Exception) -> aiohttp.ClientOSError:
    error = aiohttp.ClientOSError(errno.EPIPE, "Can not write request body for https://target.test/secret")
    error.__cause__ = cause
    return error


CASES = [
    (_connecting(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")), True, ErrorClass.CONNECTION),
    (_connecting(OSError(errno.EHOSTUNREACH, "No route to host")), True, ErrorClass.CONNECTION),
    (_connecting(TimeoutError(errno.ETIMEDOUT, "Connection timed out")), True, ErrorClass.CONNECTION),
    (_connecting(ConnectionResetError()), True, ErrorClass.TLS),
    (_connecting(ConnectionResetError()), False, ErrorClass.CONNECTION),
    (_connecting(ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds")), True, ErrorClass.TLS),
    (_lost(ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")), True, ErrorClass.TLS),
    (_lost(BrokenPipeError(errno.EPIPE, "Broken pipe")), True, ErrorClass.CONNECTION),
    (aiohttp.ServerDisconnectedError(), True, ErrorClass.CONNECTION),
    (aiohttp.ClientPayloadError("https://target.test/secret"), True, ErrorClass.CONNECTION),
    (TimeoutError(), True, ErrorClass.TIMEOUT),
    (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), True, ErrorClass.CONNECTION),
    (ConnectionResetError(errno.ECONNRESET, "reset"), True, ErrorClass.CONNECTION),
]


@pytest.mark.parametrize(("error", "https", "wanted"), CASES)
def test_every_error_has_its_class(error: Exception, https: bool, wanted: ErrorClass) -> None:
    """And words that don't repeat the URL."""
    found = failure(error, https=https)
    assert found is not None
    assert found[0] is wanted
    assert found[1]
    assert "secret" not in found[1]


def test_an_error_of_our_own_is_not_the_targets() -> None:
    """It is told apart, so that it can be logged."""
    assert failure(KeyError("x"), https=True) is None


def test_a_cause_that_leads_back_to_itself_ends() -> None:
    """Chains of causes may be loops."""
    first, second = aiohttp.ClientOSError(errno.EPIPE, "a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert failure(first, https=True) == (ErrorClass.CONNECTION, "the connection was lost: Broken pipe")
