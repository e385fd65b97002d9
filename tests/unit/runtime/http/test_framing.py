"""Where responses begin and end, whole and byte by byte; and what llhttp tolerates but a client must not."""

import pytest

from chaski_runtime.http.errors import BrokenBodyError, DisconnectedError, InvalidResponseError, ResponseTooLongError
from chaski_runtime.http.framing import Phase, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


def feed(reader: ResponseReader, raw: bytes, cut: bool) -> None:
    """Whole or byte by byte."""
    for part in [raw[at : at + 1] for at in range(len(raw))] if cut else [raw]:
        reader.feed(part)


def read(raw: bytes, *, cut: bool = False, without_body: bool = False, max_bytes: int = 1_000_000) -> ResponseReader:
    """A reader that was fed one response, whole or byte by byte."""
    reader = ResponseReader(max_bytes)
    reader.start(without_body=without_body)
    feed(reader, raw, cut)
    return reader


KEPT = [
    pytest.param(OK + b"Content-Length: 2\r\n\r\nhi", b"hi", id="length"),
    pytest.param(CHUNKED + b"1\r\nh\r\n1;a=b\r\ni\r\n0\r\nX: trailer\r\n\r\n", b"hi", id="chunks"),
    pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="1.0 kept"),
    pytest.param(b"HTTP/1.1 204 No\r\n\r\n", b"", id="204"),
    pytest.param(b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", b"", id="304 with a length"),
    pytest.param(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + EMPTY, b"", id="interim"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi", id="line feeds"),
    pytest.param(b"HTTP/1.1 100 Go\n\n" + EMPTY, b"", id="line feeds of an interim"),
    pytest.param(OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="folded"),
]
CLOSED = [
    pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="1.0"),
    pytest.param(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="close"),
    pytest.param(OK + b"Connection: x, Close\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="close of several"),
    pytest.param(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"", id="101"),
    pytest.param(b"HTTP/1.1 101 Go\r\n\r\n", b"", id="101 without a protocol"),
    pytest.param(OK + b"Content-Length: 2\r\n\r\nhi" + EMPTY, b"hi", id="two responses"),
    pytest.param(OK + b"Content-Length: 2\r\n\r\nhi!", b"hi", id="a byte after the body"),
    pytest.param(CHUNKED + b"0\r\n\r\n" + EMPTY, b"", id="two responses after chunks"),
    pytest.param(b"HTTP/1.1 204 No\r\n\r\nbody", b"", id="a body of 204"),
]


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("raw", "body", "kept"),
    [pytest.param(*each.values, True, id=each.id) for each in KEPT]
    + [pytest.param(*each.values, False, id=each.id) for each in CLOSED],
)
def test_a_response_ends_and_its_connection_is_kept_or_not(raw: bytes, body: bytes, kept: bool, cut: bool) -> None:
    """By RFC 9112 §6.3 and §9.3; bytes after it are never a part of it, and end the connection."""
    reader = read(raw, cut=cut)
    assert reader.phase is Phase.COMPLETE
    assert reader.response.body == body
    assert reader.keep_alive is kept


@pytest.mark.parametrize(("raw", "body"), KEPT)
def test_a_reader_takes_another_response(raw: bytes, body: bytes) -> None:
    """It starts anew: neither headers nor body of the one before."""
    reader = read(raw)
    before = reader.response
    after = reader.start(without_body=False)
    reader.feed(b"HTTP/1.1 500 No\r\nX: b\r\nContent-Length: 3\r\n\r\nyes")
    assert (after.status, after.reason, after.body) == (500, "No", b"yes")
    assert after.headers()["x"] == "b"
    assert before.status != 500
    assert before.body == body


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("fields", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_response_to_head_has_no_body(fields: bytes, cut: bool) -> None:
    """Whatever its headers say; the next response is read from its start."""
    reader = read(OK + fields + b"\r\n", cut=cut, without_body=True)
    assert reader.phase is Phase.COMPLETE
    assert reader.keep_alive is bool(fields)
    reader.start(without_body=False)
    reader.feed(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    assert reader.response.status == 404


INVALID = [
    pytest.param(b"RTSP/1.0 200 OK\r\n\r\n", id="RTSP"),
    pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="2.0"),
    pytest.param(b"HTTP/1.2 200 OK\r\n\r\n", id="1.2"),
    pytest.param(b"\r\n" + EMPTY, id="an empty line before"),
    pytest.param(b"HTTP/1.1 100 Go\r\n\r\nICE/1.0 200 OK\r\n\r\n", id="ICE after an interim"),
    pytest.param(b"HTTP/1.1 100 Go\n\nICE/1.0 200 OK\r\n\r\n", id="ICE after line feeds"),
    pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", id="status"),
    pytest.param(b"HTTP/1.1 1000 OK\r\n\r\n", id="four digits"),
    pytest.param(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", id="length and chunks"),
    pytest.param(OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", id="chunks and length"),
    pytest.param(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", id="two lengths"),
    pytest.param(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n", id="a length twice"),
    pytest.param(OK + b"Content-Length: +2\r\n\r\n", id="signed length"),
    pytest.param(OK + b"Content-Length: 99999999999999999999999\r\n\r\n", id="huge length"),
    pytest.param(OK + b"X: s3cr3t\0\r\n\r\n", id="NUL in a value"),
    pytest.param(OK + b"X\0: s3cr3t\r\n\r\n", id="NUL in a name"),
    pytest.param(OK + b"X s3cr3t\r\n\r\n", id="no colon"),
    pytest.param(OK + b"X: a\rs3cr3t: b\r\n\r\n", id="a carriage return"),
    pytest.param(OK + b"X: " + b"a" * 8_190 + b"\r\n\r\n", id="long line"),
    pytest.param(OK + b"X: " + b"a" * 9_000, id="long line without an end"),
    pytest.param(b"HTTP/1.1 200 " + b"a" * 8_191 + b"\r\n\r\n", id="long status line"),
    pytest.param(OK + b"X: a\r\n" * 129 + b"\r\n", id="many headers"),
    pytest.param(OK + b"X: a\r\n" * 130, id="many headers without an end"),
]


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("raw", INVALID)
def test_an_invalid_head_is_an_error(raw: bytes, cut: bool) -> None:
    """As soon as it can be known, and with a text that shows nothing of it."""
    with pytest.raises(InvalidResponseError) as caught:
        read(raw, cut=cut)
    assert str(caught.value)
    assert "s3cr3t" not in str(caught.value)


BROKEN = [b"ZZ\r\n", b"2\r\nhix\r\n", b"2\nhi", b"-2\r\nhi", b"fffffffffffffffff\r\n", b"0\r\nX: \0\r\n\r\n"]
BROKEN += [b"0\r\n" + b"X: a\r\n" * 129 + b"\r\n", b"0\r\nX: " + b"a" * 9_000 + b"\r\n\r\n"]


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:12]))
def test_the_head_counts_where_the_body_is_broken(body: bytes, cut: bool) -> None:
    """Even in the same packet."""
    reader = ResponseReader(1_000_000)
    response = reader.start(without_body=False)
    with pytest.raises(BrokenBodyError):
        feed(reader, CHUNKED + body, cut)
    assert response.status == 200
    assert reader.phase is Phase.BODY


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (OK + b"\r\nhi", None),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nhi", None),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", None),
        (OK + b"Content-Length: 3\r\n\r\nhi", BrokenBodyError),
        (CHUNKED + b"2\r\nhi\r\n", BrokenBodyError),
        (OK + b"Transfer-Encoding: gzip, Chunked \r\n\r\n2\r\nhi\r\n", BrokenBodyError),
        (OK + b"Content-Le", DisconnectedError),
        (b"HTTP/1.1 103 Early\r\n\r\n", DisconnectedError),
        (b"", DisconnectedError),
    ],
)
def test_the_end_of_a_connection(raw: bytes, error: type[Exception] | None) -> None:
    """It ends a body without a length; any other response is incomplete."""
    reader = read(raw)
    if error is None:
        reader.feed_eof()
        assert (reader.phase, reader.keep_alive, reader.response.body) == (Phase.COMPLETE, False, b"hi")
    else:
        with pytest.raises(error):
            reader.feed_eof()


@pytest.mark.parametrize(
    ("start", "part"),
    [(b"", b"HTTP/1.1 103 Early\r\n\r\n"), (CHUNKED, b"1\r\nx\r\n"), (CHUNKED + b"1;", b"x"), (OK + b"\r\n", b"x")],
    ids=["interim", "chunks", "extension", "body"],
)
def test_everything_counts_towards_the_limit_of_a_response(start: bytes, part: bytes) -> None:
    """Interim responses and framing too."""
    whole = start + part * 5_000
    reader = read(whole[:5_000], max_bytes=5_000)
    with pytest.raises(ResponseTooLongError, match="5000 bytes"):
        reader.feed(whole[5_000:5_001])


def test_headers_are_read_without_their_white_space() -> None:
    """In any case of their names; bytes that are no UTF-8 stay recognisable."""
    headers = read(OK + b"X-A: \xff b \t\r\nEmpty:\r\nContent-Length: 0\r\n\r\n").response.headers()
    assert headers["x-a"] == "\udcff b"
    assert not headers["EMPTY"]
