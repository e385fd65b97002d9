"""Requests from bytes, however they are split, and everything that is refused."""

from collections.abc import Callable

import pytest

from chaski_ingest.http.request import ReadFlow
from chaski_ingest.http.request_parser import MAX_QUEUED, MalformedRequestError, RequestParser

HOST = b"Host: a\r\n"
POST = b"POST /x HTTP/1.1\r\n" + HOST
GET = b"GET /y HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n"
FIXED = b"Content-Length: 5\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"  # as Java's client sends


class Feed:
    """A parser, and the responses of a connection that answers nothing."""

    def __init__(self) -> None:
        self.pauses = 0
        self.flow = ReadFlow(self._pause, lambda: None, lambda: None)
        self.parser = RequestParser(self.flow)

    def _pause(self) -> None:
        self.pauses += 1

    def all(self, data: bytes, size: int = 1_000_000) -> list[tuple[str, str, bytes, bool]]:
        """Method, target, body and completeness of each request of bytes that arrive `size` at a time."""
        for start in range(0, len(data), size):
            assert self.parser.feed(data[start : start + size]) == b""
        return [(each.method, each.target, bytes(each._data), each.complete) for each in self.parser.requests]


@pytest.fixture
def feed() -> Callable[[], Feed]:
    """Makes parsers."""
    return Feed


SIZES = [1, 2, 7, 1_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("upgrade", [b"", H2C], ids=["plain", "h2c"])
def test_requests_are_the_same_however_they_are_split(feed: Callable[[], Feed], size: int, upgrade: bytes) -> None:
    """By length, in chunks with extensions and trailers, without a body; an upgrade that is not supported is ignored."""
    data = POST + upgrade + FIXED + b"\r\nhello" + POST + upgrade + CHUNKED + b"\r\n" + CHUNKS + GET
    post = ("POST", "/x", b"hello", True)
    assert feed().all(data, size) == [post, post, ("GET", "/y", b"", True)]


def test_headers_are_found_in_any_case_and_without_surrounding_spaces(feed: Callable[[], Feed]) -> None:
    """The first of several counts; a trailer does not count."""
    made = feed()
    made.all(POST + b"X-A:  b \t\r\nx-a: c\r\nX-Empty:\r\nX-B: \xc3\xa9\r\n" + CHUNKED + b"\r\n" + CHUNKS)
    headers = made.parser.requests[0].headers
    assert [headers.get(name) for name in ("x-A", "X-EMPTY", "x-b", "X-Trailer")] == ["b", "", "é", None]


@pytest.mark.parametrize(
    "last",
    [
        POST + b"Connection: close\r\n" + FIXED + b"\r\nhello",
        b"POST /x HTTP/1.0\r\n" + FIXED + b"\r\nhello",
        b"POST /x HTTP/1.0\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n" + CHUNKS,
        b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
    ids=["close", "1.0", "1.0 in chunks", "connect"],
)
@pytest.mark.parametrize("size", SIZES)
def test_bytes_after_the_last_request_are_dropped(feed: Callable[[], Feed], last: bytes, size: int) -> None:
    """They are neither a request nor an error."""
    made = feed()
    assert len(made.all(last + GET + b"nonsense\r\n\r\n", size)) == 1
    assert made.parser.ended


REFUSED = {
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "Host"),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"host: b\r\n\r\n", "several Host"),
    "two types": (POST + b"Content-Type: a\r\ncontent-type: b\r\n\r\n", "Content-Type"),
    "two agents": (POST + b"User-Agent: a\r\nUser-Agent: b\r\n\r\n", "User-Agent"),
    "two encodings": (POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n" + CHUNKS, "Transfer-Encoding"),
    "two lengths": (POST + FIXED + FIXED + b"\r\nhello", "Content-Length"),
    "length and chunks": (POST + FIXED + CHUNKED + b"\r\n" + CHUNKS, "Transfer-Encoding"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "no HTTP version"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", "HTTP/2.0"),
    "no path": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", "target"),
    "no authority": (b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n", "target"),
    "authority without host": (b"GET http://:80/x HTTP/1.1\r\n" + HOST + b"\r\n", "target"),
    "long target": (b"GET /" + b"a" * 8_190 + b" HTTP/1.1\r\n" + HOST + b"\r\n", "8190"),
    "long header": (POST + b"X-A: " + b"a" * 8_188 + b"\r\n\r\n", "8190"),
    "long name": (POST + b"X" * 8_191 + b": a\r\n\r\n", "8190"),
    "129 headers": (POST + b"".join(b"X-%d: a\r\n" % number for number in range(128)) + b"\r\n", "128"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", "HTTPS"),
    "an upgrade with two hosts": (POST + HOST + H2C + b"\r\n", "several Host"),
}  # fmt: skip


@pytest.mark.promise(14)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("data", "part"), REFUSED.values(), ids=list(REFUSED))
def test_a_malformed_head_is_refused_after_the_requests_before_it(
    feed: Callable[[], Feed], data: bytes, part: str, size: int
) -> None:
    """The text says why; what follows is not read."""
    for before in (b"", GET):
        if part == "HTTPS" and (before or size == 1):
            continue  # only the first bytes of a connection show it
        made = feed()
        with pytest.raises(MalformedRequestError, match=part):
            made.all(before + data + GET, size)
        assert len(made.parser.requests) == bool(before)
        assert made.parser.ended


@pytest.mark.parametrize(
    "head",
    [
        POST + b"".join(b"X-%d: a\r\n" % number for number in range(127)) + b"\r\n",
        b"GET /" + b"a" * 8_189 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        POST + b"X-A: " + b"a" * 8_187 + b"\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://a:80/x HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
    ids=["128 headers", "target", "header", "asterisk form", "absolute form", "1.0 without Host"],
)
def test_a_head_within_the_limits_is_accepted(feed: Callable[[], Feed], head: bytes) -> None:
    """The limits themselves, and the other forms of a target."""
    assert len(feed().all(head)) == 1


BAD_CHUNKS = {
    "size": b"5\r\nhello\r\nnonsense\r\n",
    "no end": b"5\r\nhelloworld\r\n",
    "trailers": b"0\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(200)),
    "long trailer": b"0\r\nX-A: " + b"a" * 9_000 + b"\r\n\r\n",
    "endless trailer": b"0\r\nX-A: " + b"a" * 50_000,
    "endless extension": b"5;" + b"a" * 50_000,
}


@pytest.mark.promise(12)
@pytest.mark.parametrize("size", [1, 500, 1_000_000])
@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=list(BAD_CHUNKS))
def test_a_malformed_body_fails_and_ends_the_connections_requests(
    feed: Callable[[], Feed], chunks: bytes, size: int
) -> None:
    """Its request was begun, so its handler gets the error; extensions and trailers are bounded."""
    made = feed()
    ((_, _, _, complete),) = made.all(POST + CHUNKED + b"\r\n" + chunks, size)
    assert not complete
    assert made.parser.requests[0]._error
    assert made.parser.ended


@pytest.mark.promise(12)
def test_few_requests_are_queued_however_many_arrive_at_once(feed: Callable[[], Feed]) -> None:
    """The rest is returned, and continues where it was cut."""
    made, total = feed(), 3_000
    rest, seen = GET * total, 0
    while rest:
        rest = made.parser.feed(rest)
        assert len(made.parser.requests) <= MAX_QUEUED + 4_096 // len(GET) + 1
        seen += len(made.parser.requests)
        made.parser.requests.clear()
    assert seen == total


@pytest.mark.promise(12)
@pytest.mark.parametrize("framing", [b"Content-Length: 1000000\r\n", CHUNKED], ids=["length", "chunked"])
def test_unread_bytes_pause_the_connection(feed: Callable[[], Feed], framing: bytes) -> None:
    """Small chunks are held as one piece; dropped bytes are not held."""
    made = feed()
    chunk = b"1\r\na\r\n" if framing == CHUNKED else b"aaaaaa"
    made.all(POST + framing + b"\r\n" + chunk * 10_000)
    assert made.pauses == 0
    request = made.parser.requests[0]
    made.all(chunk * 60_000)
    assert made.pauses > 0
    assert made.flow.full
    request.drop_body()
    made.all(chunk * 1_000)
    assert made.flow.held == 0
