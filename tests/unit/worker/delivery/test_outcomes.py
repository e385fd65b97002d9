"""Error classes, for errors that the contract tests' sockets can't provoke at will; and texts without secrets."""

import errno
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from chaski_core.retry.outcome import ErrorClass
from chaski_runtime.http.errors import (
    BrokenBodyError,
    ConnectFailedError,
    DisconnectedError,
    InvalidResponseError,
    LookupFailedError,
)
from chaski_worker.delivery.outcomes import classify_error, excerpt, one_line, origin_text


def _connecting(cause: OSError) -> ConnectFailedError:
    error = ConnectFailedError("target.test", 443, cause)
    error.__cause__ = cause
    return error


def _lost(cause: Exception) -> OSError:
    error = OSError(errno.EPIPE, "Can not write request body for https://target.test/secret")
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
    (DisconnectedError(), True, ErrorClass.CONNECTION),
    (LookupFailedError("target.test", OSError("unknown")), True, ErrorClass.CONNECTION),
    (InvalidResponseError("Invalid header token"), True, ErrorClass.CONNECTION),
    (BrokenBodyError("https://target.test/secret"), True, ErrorClass.CONNECTION),
    (TimeoutError(), True, ErrorClass.TIMEOUT),
    (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), True, ErrorClass.CONNECTION),
    (ConnectionResetError(errno.ECONNRESET, "reset"), True, ErrorClass.CONNECTION),
]


@pytest.mark.parametrize(("error", "https", "wanted"), CASES)
def test_every_error_has_its_class(error: Exception, https: bool, wanted: ErrorClass) -> None:
    """And a detail without the URL."""
    found = classify_error(error, https=https)
    assert found is not None
    assert found[0] is wanted
    assert found[1]
    assert "secret" not in found[1]


def test_an_internal_error_has_no_class() -> None:
    """It is recognised, so that it can be logged."""
    assert classify_error(KeyError("x"), https=True) is None


def test_a_loop_of_causes_ends() -> None:
    """Chains of causes may be loops."""
    first, second = OSError(errno.EPIPE, "a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify_error(first, https=True) == (ErrorClass.CONNECTION, "the connection was lost: Broken pipe")


@given(st.text(max_size=200), st.integers(1, 50))
def test_one_line_is_one_printable_line(text: str, limit: int) -> None:
    """No text can break a log line or a terminal."""
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


def test_white_space_is_collapsed_and_control_characters_are_removed() -> None:
    """A text stays readable; escape sequences are removed."""
    assert one_line("a\r\n\t b\x1b[31mc\u202ed", 100) == "a b[31mcd"


@pytest.mark.parametrize(
    ("data", "encoding", "shown"),
    [
        (b"", "gzip", ""),
        (b"\x1f\x8b", "gzip", "[gzip, not decompressed]"),
        (b"plain", "identity", "plain"),
        (b"plain", None, "plain"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        ("ü".encode() * 3_000, None, "ü" * 1_000),
    ],
)
def test_an_excerpt_is_short_text_whatever_the_body_is(data: bytes, encoding: str | None, shown: str) -> None:
    """Broken bytes are replaced, compressed ones are left alone."""
    assert excerpt(data, encoding) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@a.example/secret?x=1#y", "https://a.example"),
        ("http://a.example:8080/", "http://a.example:8080"),
        ("http://[::1]:1/", "http://[::1]:1"),
    ],
)
def test_only_the_origin_of_a_url_is_shown(url: str, shown: str) -> None:
    """Paths hold secrets as often as queries do."""
    assert origin_text(URL(url)) == shown
