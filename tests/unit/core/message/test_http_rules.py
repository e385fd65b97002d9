"""Methods and headers that a message may use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.message.http_rules import header_errors, method_errors, syntax_errors


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "post"])
def test_methods_for_content_are_allowed(method: str) -> None:
    """In upper or lower case."""
    assert method_errors(method) == []


@pytest.mark.parametrize("method", ["", "CONNECT", "TRACE", "OPTIONS", "GET /x", "POST\r\n", "pos\u017f", "ﬁ"])
def test_other_methods_are_refused(method: str) -> None:
    """The fault repeats no control characters."""
    [fault] = method_errors(method)
    assert fault.field == "body.method"
    assert str(fault).isprintable()


ALLOWED = [
    ("X-A", "b"),
    ("Authorization", "Bearer x"),
    ("Content-Type", "text/plain; charset=utf-8"),
    ("X-E", ""),
    ("x_y", "a\tb"),
]


@pytest.mark.parametrize("header", ALLOWED)
def test_a_targets_own_headers_are_allowed(header: tuple[str, str]) -> None:
    """Any header that is not forbidden."""
    assert header_errors([header]) == []


FORBIDDEN = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "TE",
    "Trailer",
    "Connection",
    "Keep-Alive",
    "Upgrade",
    "Expect",
    "Proxy-Authorization",
    "Proxy-Connection",
    "HTTP2-Settings",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Real-IP",
    "Via",
    "X-Aws-Ec2-Metadata-Token",
    "X-Aws-Ec2-Metadata-Token-TTL-Seconds",
    "Metadata-Flavor",
    "Metadata",
    "webhook-id",
    "Webhook-Signature",
    "Chaski-Attempt",
    "Accept-Encoding",
    "Cookie",
    "hOsT",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_headers_are_refused(name: str) -> None:
    """By name, in any case, with the reason."""
    [fault] = header_errors([(name, "x")])
    assert fault.field == f"body.headers.{name}"
    assert fault.message.startswith("can't be set: ")


BROKEN = [("", "x"), ("X:A", "x"), ("X A", "x"), ("X-é", "x"), ("X\r\nY", "x")]
BROKEN += [("X", value) for value in ("a\r\nb", "a\nb", "a\0", "a\x7f", "é", "\ud800")]


@pytest.mark.parametrize("header", BROKEN)
def test_headers_with_invalid_syntax_are_refused(header: tuple[str, str]) -> None:
    """The fault does not repeat the value."""
    [fault] = header_errors([header])
    assert str(fault).isprintable()
    assert str(fault).isascii()
    assert syntax_errors([header]) == [fault]


def test_chaskis_own_headers_are_checked_by_syntax_only() -> None:
    """Chaski may set headers that a producer may not."""
    assert syntax_errors([("Chaski-Attempt", "1"), ("webhook-id", "x")]) == []


@pytest.mark.parametrize(
    ("headers", "words"),
    [([(f"X-{n}", "a") for n in range(65)], "65 headers"), ([("X", "a" * 8_192)], "8193 characters")],
    ids=["too many", "too long"],
)
def test_headers_are_bounded(headers: list[tuple[str, str]], words: str) -> None:
    """In number and in size."""
    [fault] = header_errors(headers)
    assert fault.field == "body.headers"
    assert words in fault.message


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=4))
def test_headers_without_a_fault_are_safe_to_write(headers: list[tuple[str, str]]) -> None:
    """No accepted header can end a line."""
    if not header_errors(headers):
        assert all(name and name.isascii() and value.isascii() for name, value in headers)
        assert not any(set("\r\n\0:") & set(name) or set("\r\n\0") & set(value) for name, value in headers)
