"""From what went wrong to an error class and one line for people.

Any failure of DNS, TCP or HTTP framing before complete response headers is `connection`, one of the TLS handshake or a
certificate is `tls`.
"""

import errno
import os
import ssl

import aiohttp

from chaski_core.retry.outcome import ErrorClass
from chaski_runtime.http.transport import ResponseTooLongError
from chaski_worker.observability.redact import one_line
from chaski_worker.shortage.classify import causes

_MAX_DETAIL_CHARACTERS = 300


def failure(error: BaseException, *, https: bool) -> tuple[ErrorClass, str] | None:
    """Class and detail of an error before complete response headers; None for an error that can't be the target's.

    A shortage of our own (`shortage.py`) never comes here.

    Args:
        error: what the HTTP client raised.
        https: whether a TLS handshake was due.
    """
    found = _tls(error, https=https) or _others(error)
    return (found[0], one_line(found[1], _MAX_DETAIL_CHARACTERS)) if found else None


def _tls(error: BaseException, *, https: bool) -> tuple[ErrorClass, str] | None:
    for cause in causes(error):
        if isinstance(cause, aiohttp.ClientError):
            continue  # some are SSLErrors by descent, without what an SSLError knows; their causes are the real ones
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ErrorClass.TLS, f"certificate: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return ErrorClass.TLS, f"TLS: {cause.strerror or cause}"
        # connect() itself ends as refused, unreachable or timed out; while connecting, a reset comes in the handshake.
        if https and isinstance(error, aiohttp.ClientConnectorError) and isinstance(cause, _CUT_OFF):
            return ErrorClass.TLS, "TLS: the connection was cut off during the handshake"
    return None


_CUT_OFF = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def _others(error: BaseException) -> tuple[ErrorClass, str] | None:  # noqa: PLR0911 - a table of cases
    match error:
        case aiohttp.ClientConnectorDNSError():
            return ErrorClass.CONNECTION, f"no address for {error.host}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorError():
            return ErrorClass.CONNECTION, f"no connection to {error.host}:{error.port}: {_words(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return ErrorClass.CONNECTION, "the connection was closed before the answer's headers were complete"
        case ResponseTooLongError():
            return ErrorClass.CONNECTION, str(error)
        case aiohttp.ClientResponseError():
            return ErrorClass.CONNECTION, f"the answer is not HTTP: {error.message}"
        case TimeoutError() if not isinstance(error, aiohttp.ClientError) and error.errno is None:
            return ErrorClass.TIMEOUT, "no complete answer in time"
        case OSError():
            # Not the error's own words: aiohttp puts the whole URL into them.
            return ErrorClass.CONNECTION, f"the connection was lost: {os.strerror(error.errno or errno.ECONNRESET)}"
        case aiohttp.ClientError():
            return ErrorClass.CONNECTION, f"the exchange failed: {type(error).__name__}"
        case _:
            return None


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
