"""Request heads that the HTTP client writes."""

import pytest

from chaski_runtime.http.request import origin_of, request_head


def test_a_head_is_valid_http() -> None:
    """The request line, the headers in their order, the length of the body."""
    head = request_head("POST /a?b=c", [("Host", "t.test"), ("X-A", "b")], 3)
    assert head == b"POST /a?b=c HTTP/1.1\r\nHost: t.test\r\nX-A: b\r\nContent-Length: 3\r\n\r\n"
    assert request_head("GET /", [("Host", "t.test")], None) == b"GET / HTTP/1.1\r\nHost: t.test\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "header"),
    [
        ("GET /", ("X-A", "b\r\nX-B: c")),
        ("GET /", ("X-A", "b\nX-B: c")),
        ("GET /", ("X-A", "b\rX-B: c")),
        ("GET /", ("X-A\r\nX-B", "c")),
        ("GET /", ("X-A", "b\0c")),
        ("GET / HTTP/1.1\r\nX-B: c", ("X-A", "b")),
        ("GET /", ("X-A", "\u00e9")),
    ],
    ids=["line break", "line feed", "carriage return", "in a name", "NUL", "in the target", "beyond ASCII"],
)
def test_no_value_can_add_a_line(start: str, header: tuple[str, str]) -> None:
    """A producer's value can't add a header or end the head."""
    with pytest.raises(ValueError, match=r"line|ascii"):
        request_head(start, [header], None)


@pytest.mark.parametrize(
    ("scheme", "host", "port", "shown"),
    [
        ("http", "name.test.", 8080, "name.test.:8080"),
        ("https", "name.test.", 443, "name.test."),
        ("http", "name.test", 80, "name.test"),
        ("http", "name.test", 443, "name.test:443"),
        ("http", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("http", "::1", 8080, "[::1]:8080"),
        ("https", "::1", 443, "[::1]"),
    ],
)
async def test_the_host_header_is_the_authority_of_the_url(scheme: str, host: str, port: int, shown: str) -> None:
    """As it is written, the dot of a full name included (RFC 9112 §3.2); without the port that the scheme implies."""
    assert origin_of(scheme, host, port).authority == shown
