"""Requests that a proxy and ingest might parse differently are refused, and their connection is closed."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chaski_ingest.http.server import IngestServer
from unit.ingest.fakes import FakeBackend, make_ingest

BODY = b'{"subject":"s","body":{"url":"https://api.example/"}}'
PATH = b"/v1/routes/helpdesk/conversations/messages"
SECOND = b"POST " + PATH + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"


def request(*headers: bytes, body: bytes = BODY, start: bytes = b"POST " + PATH + b" HTTP/1.1") -> bytes:
    """The bytes of a request with a Host header."""
    return b"\r\n".join([start, b"Host: a", *headers, b"", b""]) + body


LENGTH = b"Content-Length: %d" % len(BODY)
SMUGGLING = [
    pytest.param(request(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKED), id="length and chunked"),
    pytest.param(request(b"Transfer-Encoding: chunked", LENGTH, body=CHUNKED), id="chunked and length"),
    pytest.param(request(LENGTH, LENGTH), id="length twice, the same"),
    pytest.param(request(LENGTH, b"Content-Length: 0"), id="length twice, different"),
    pytest.param(request(b"Content-Length: %d, %d" % (len(BODY), len(BODY))), id="list of lengths"),
    pytest.param(request(b"Content-Length: +%d" % len(BODY)), id="length with a sign"),
    pytest.param(request(b"Content-Length: 0x10"), id="length in hexadecimal"),
    pytest.param(request(b"Content-Length: -1"), id="length below zero"),
    pytest.param(request(b"Transfer-Encoding: xchunked", body=CHUNKED), id="unknown encoding"),
    pytest.param(request(b"Transfer-Encoding: chunked, identity", body=CHUNKED), id="chunked not last"),
    pytest.param(request(b"Transfer-Encoding: \x0bchunked", body=CHUNKED), id="control character in the encoding"),
    pytest.param(request(b"Transfer-Encoding : chunked", body=CHUNKED), id="space before the colon"),
    pytest.param(request(b"Content-Length : %d" % len(BODY)), id="space before the length's colon"),
    pytest.param(request(b" Content-Length: %d" % len(BODY)), id="folded line"),
    pytest.param(request(b"X-A: b\r\n folded", LENGTH), id="obsolete folding"),
    pytest.param(request(b"X-A: b\nX-C: d", LENGTH), id="bare line feed"),
    pytest.param(request(b"X-A: b\rX-C: d", LENGTH), id="bare carriage return"),
    pytest.param(request(b"X-A: b\0", LENGTH), id="NUL in a value"),
    pytest.param(request(b"X\0A: b", LENGTH), id="NUL in a name"),
    pytest.param(request(b"X(A): b", LENGTH), id="no token as name"),
    pytest.param(request(b": b", LENGTH), id="no name"),
    pytest.param(request(b"no colon", LENGTH), id="no colon"),
    pytest.param(request(b"Host: b", LENGTH), id="second Host"),
    pytest.param(b"POST " + PATH + b" HTTP/1.1\r\n" + LENGTH + b"\r\n\r\n" + BODY, id="no Host"),
    pytest.param(
        request(b"Transfer-Encoding: chunked", body=b"5;a=b\rc\r\nhello\r\n0\r\n\r\n"), id="return in an extension"
    ),
    pytest.param(request(b"Transfer-Encoding: chunked", body=b"5\nhello\n0\n\n"), id="chunks ended by line feeds"),
    pytest.param(request(b"Transfer-Encoding: chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"), id="chunk size 0x"),
    pytest.param(request(b"Transfer-Encoding: chunked", body=b"-5\r\nhello\r\n0\r\n\r\n"), id="chunk size below zero"),
    pytest.param(request(b"Transfer-Encoding: chunked", body=b"f" * 20 + b"\r\n"), id="chunk size beyond counting"),
    pytest.param(request(*[b"X-%d: a" % number for number in range(130)], LENGTH), id="too many headers"),
    pytest.param(request(b"X-A: " + b"b" * 9_000, LENGTH), id="too long a header"),
    pytest.param(request(LENGTH, start=b"POST /" + b"a" * 9_000 + b" HTTP/1.1"), id="too long a target"),
    pytest.param(request(LENGTH, start=b"POST " + PATH + b" HTTP/1.10"), id="odd version"),
    pytest.param(request(LENGTH, start=b"POST " + PATH + b" HTTP/2.0"), id="version 2"),
    pytest.param(request(LENGTH, start=b"POST http:// HTTP/1.1"), id="absolute target without a host"),
    pytest.param(request(LENGTH, start=b"POST * HTTP/1.1"), id="asterisk target of a POST"),
    pytest.param(request(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=CHUNKED), id="two encodings"),
    pytest.param(request(b"Content-Type: a/b", b"content-type: c/d", LENGTH), id="two types"),
    pytest.param(
        request(b"Connection: Upgrade", b"Upgrade: h2c", b"host: b", LENGTH), id="second Host with an upgrade"
    ),
    pytest.param(request(LENGTH, start=b"PO ST " + PATH + b" HTTP/1.1"), id="space in the method"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="TLS hello"),
]


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeBackend, int]]:
    """An ingest whose queues accept everything, and its port."""
    backend = FakeBackend()
    server = IngestServer(make_ingest(backend))
    yield backend, await server.start("127.0.0.1", 0)
    await server.drain()


async def _answers(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            writer.write(data)
            await writer.drain()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("data", SMUGGLING)
async def test_an_ambiguous_request_and_all_that_follow_are_refused(
    served: tuple[FakeBackend, int], data: bytes
) -> None:
    """One 400 with a problem; the connection closes, so that a second request is never read."""
    backend, port = served
    answer = await _answers(port, data + SECOND)
    assert answer.count(b"HTTP/1.") == 1, answer
    assert answer.partition(b" ")[2].startswith(b"400 "), answer
    assert b"Content-Type: application/problem+json" in answer
    assert [message for queue in backend.queues.values() for message in queue.taken] == []


@pytest.mark.parametrize("before", [b"", request(start=b"GET /nothing HTTP/1.1", body=b"")], ids=["first", "later"])
async def test_a_request_without_a_version_is_refused(served: tuple[FakeBackend, int], before: bytes) -> None:
    """A reader of HTTP/0.9 ends it after its first line, and takes the rest for something else."""
    backend, port = served
    answer = await _answers(port, before + request(LENGTH, start=b"POST " + PATH))
    assert answer.count(b"HTTP/") == 1 + bool(before), answer
    assert b" 400 Bad Request" in answer
    assert b"no HTTP version" in answer
    assert [message for queue in backend.queues.values() for message in queue.taken] == []


SEPARATED = {
    "two before the target": b"POST  %s HTTP/1.1",
    "two after it": b"POST %s  HTTP/1.1",
    "many": b"POST     %s     HTTP/1.1",
    "an empty line before": b"\r\nPOST %s HTTP/1.1",
}
ODD = {
    "tab": b"POST\t%s HTTP/1.1",
    "tab after": b"POST %s\tHTTP/1.1",
    "vertical tab": b"POST %s\x0bHTTP/1.1",
    "form feed": b"POST\x0c%s HTTP/1.1",
    "bare return": b"POST %s\rHTTP/1.1",
    "space before": b" POST %s HTTP/1.1",
    "space at the end": b"POST %s HTTP/1.1 ",
    "space in the target": b"POST %s x HTTP/1.1",
}


@pytest.mark.parametrize("line", SEPARATED.values(), ids=list(SEPARATED))
async def test_several_spaces_between_the_parts_of_a_request_line_count_as_one(
    served: tuple[FakeBackend, int], line: bytes
) -> None:
    """RFC 9112 §3 permits it: the target has no space either way, so the request is not ambiguous."""
    backend, port = served
    answer = await _answers(port, request(LENGTH, b"Connection: close", start=line % PATH))
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert len([message for queue in backend.queues.values() for message in queue.taken]) == 1


@pytest.mark.parametrize("line", ODD.values(), ids=list(ODD))
async def test_other_white_space_between_them_is_refused(served: tuple[FakeBackend, int], line: bytes) -> None:
    """The RFC permits it, and parsers differ."""
    backend, port = served
    answer = await _answers(port, request(LENGTH, start=line % PATH) + SECOND)
    assert answer.count(b"HTTP/1.") == 1, answer
    assert answer.partition(b" ")[2].startswith(b"400 "), answer
    assert [message for queue in backend.queues.values() for message in queue.taken] == []


@pytest.mark.parametrize("line", [b"HTTP/2.0", b"HTTP/0.9"])
async def test_another_version_is_refused_on_its_own(served: tuple[FakeBackend, int], line: bytes) -> None:
    """Also where nothing follows it: the response would be of a version that Chaski does not speak."""
    backend, port = served
    answer = await _answers(port, request(LENGTH, start=b"POST " + PATH + b" " + line))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [message for queue in backend.queues.values() for message in queue.taken] == []


async def test_a_valid_request_before_a_malformed_one_is_answered(served: tuple[FakeBackend, int]) -> None:
    """Both arrive in one segment; the message is accepted, and its producer hears it."""
    backend, port = served
    answer = await _answers(port, SECOND + b"nonsense\r\n\r\n" + SECOND)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"202", b"400"]
    assert len([message for queue in backend.queues.values() for message in queue.taken]) == 1


async def test_two_plain_requests_on_one_connection_are_two(served: tuple[FakeBackend, int]) -> None:
    """Without this the tests above would also pass if nothing were ever accepted."""
    backend, port = served
    answer = await _answers(port, SECOND + request(b"Transfer-Encoding: chunked", b"Connection: close", body=CHUNKED))
    assert answer.count(b"HTTP/1.1 202 ") == 2, answer
    assert len([message for queue in backend.queues.values() for message in queue.taken]) == 2
