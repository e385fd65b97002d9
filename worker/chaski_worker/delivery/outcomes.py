"""Turns responses and errors into outcomes: an error class, and texts without secrets.

Any failure of DNS, TCP or HTTP framing before complete response headers is `connection`, one of the TLS handshake or a
certificate is `tls`. Texts hold no query strings, paths or control characters.
"""

import errno
import functools
import os
import ssl

from yarl import URL

from chaski_core.message.target_url import TargetUrl
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_status
from chaski_runtime.http.client import Response
from chaski_runtime.http.errors import (
    ConnectFailedError,
    DisconnectedError,
    HttpError,
    InvalidResponseError,
    LookupFailedError,
    ResponseTooLongError,
)
from chaski_worker.shortage.detection import causes

EXCERPT_CHARACTERS = 1_000
_MAX_DETAIL_CHARACTERS = 300
_MAX_REASON_CHARACTERS = 100
_CACHED_STATUS_LINES = 64
_ENCODINGS = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})


def outcome_of(response: Response, body: bytes, target: str, seconds: float) -> Outcome:
    """The outcome of an attempt whose response headers were complete.

    Args:
        response: the target's.
        body: its beginning.
        target: name of the allow rule.
        seconds: that the attempt took.
    """
    error_class = class_of_status(response.status)
    detail = _status_line(response.status, response.reason or "")
    if error_class is None:
        return Outcome(None, response.status, detail, _excerpt_of(response, body), target, seconds)
    if error_class is ErrorClass.REDIRECT and (location := response.headers.get("Location")):
        detail += f" to {_location_text(response.url, location)}, not followed"
    elif error_class is ErrorClass.CONNECTION:
        detail += " is not a final response"
    return Outcome(
        error_class,
        status=response.status,
        detail=detail,
        excerpt=_excerpt_of(response, body),
        target=target,
        duration_seconds=seconds,
    )


def _excerpt_of(response: Response, body: bytes) -> str:
    return excerpt(body, response.headers.get("Content-Encoding")) if body else ""


@functools.lru_cache(_CACHED_STATUS_LINES)
def _status_line(status: int, reason: str) -> str:
    return f"HTTP {status} {one_line(reason, _MAX_REASON_CHARACTERS)}".rstrip()


def _location_text(url: TargetUrl, location: str) -> str:
    try:
        return origin_text(URL(str(url)).join(URL(location)))
    except ValueError:
        return "an invalid URL"


def classify_error(error: BaseException, *, https: bool) -> tuple[ErrorClass, str] | None:
    """Class and detail of an error before complete response headers; None for an error that can't be the target's.

    Shortages of our own (`shortage.detection`) are sorted out before.

    Args:
        error: raised by the HTTP client.
        https: whether a TLS handshake was due.
    """
    found = _tls(error, https=https) or _others(error)
    return (found[0], one_line(found[1], _MAX_DETAIL_CHARACTERS)) if found else None


def _tls(error: BaseException, *, https: bool) -> tuple[ErrorClass, str] | None:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ErrorClass.TLS, f"certificate: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return ErrorClass.TLS, f"TLS: {cause.strerror or cause}"
        # connect() itself ends as refused, unreachable or timed out; while connecting, a reset comes in the handshake.
        if https and isinstance(error, ConnectFailedError) and isinstance(cause, _CUT_OFF):
            return ErrorClass.TLS, "TLS: the connection was cut off during the handshake"
    return None


_CUT_OFF = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def _others(error: BaseException) -> tuple[ErrorClass, str] | None:
    match error:
        case LookupFailedError() | ConnectFailedError() | DisconnectedError() | ResponseTooLongError():
            return ErrorClass.CONNECTION, str(error)
        case InvalidResponseError():
            return ErrorClass.CONNECTION, f"the response is not HTTP: {error}"
        case TimeoutError() if error.errno is None:
            return ErrorClass.TIMEOUT, "no complete response in time"
        case OSError():
            # Not the error's own text, which the event loop may have written.
            return ErrorClass.CONNECTION, f"the connection was lost: {os.strerror(error.errno or errno.ECONNRESET)}"
        case HttpError():
            return ErrorClass.CONNECTION, f"the exchange failed: {type(error).__name__}"
        case _:
            return None


def origin_text(url: URL) -> str:
    """`https://host:port` and nothing more: paths may hold secrets as well as query strings do."""
    port = "" if url.is_default_port() or url.port is None else f":{url.port}"
    return f"{url.scheme}://{url.host_subcomponent}{port}"


def one_line(text: str, limit: int) -> str:
    """A text without unprintable characters, with white space collapsed to single spaces, cut at `limit`."""
    if not text.isprintable():
        text = "".join(" " if char.isspace() else char if char.isprintable() else "" for char in text)
    return " ".join(text.split())[:limit]


def excerpt(data: bytes, content_encoding: str | None = None) -> str:
    """The beginning of a response body as one line of at most 1,000 characters; never decompressed."""
    if not data:
        return ""
    if content_encoding and content_encoding.lower() != "identity":
        named = content_encoding.strip().lower()  # a header's value is only shown where it is a known word
        return f"[{named if named in _ENCODINGS else 'encoded'}, not decompressed]"
    return one_line(data[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace"), EXCERPT_CHARACTERS)
