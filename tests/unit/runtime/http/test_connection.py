"""One connection over a transport that records, so that every order of events can be made."""

import asyncio

import pytest

from chaski_runtime.http.connection import HttpConnection
from chaski_runtime.http.errors import BrokenBodyError, DisconnectedError, InvalidResponseError, ResponseTooLongError

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nhi"


class RecordingTransport(asyncio.Transport):
    """What was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.reading = True
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Records one write."""
        self.written.append(bytes(data))

    def close(self) -> None:
        """Records the end."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """Nothing arrives now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Data arrives again."""
        self.reading = True

    def get_write_buffer_size(self) -> int:
        """As set by the test."""
        return self.unsent


def connect(max_response_bytes: int = 10_000_000) -> tuple[HttpConnection, RecordingTransport]:
    """A connection that is made."""
    connection = HttpConnection(asyncio.get_running_loop(), max_response_bytes)
    transport = RecordingTransport()
    connection.connection_made(transport)
    return connection, transport


async def test_a_request_is_one_write() -> None:
    """And its response leaves the connection for another."""
    connection, transport = connect()
    for count in range(1, 4):
        head = connection.send(b"head and body", without_body=False)
        connection.data_received(WHOLE)
        body = bytearray()
        await connection.read_into(await head, body, 100)
        assert (body, transport.written) == (b"hi", [b"head and body"] * count)
        assert connection.reusable
    assert not transport.closed


async def test_a_connection_takes_one_request_at_a_time() -> None:
    """A second one is refused until the response to the first is complete."""
    connection, transport = connect()
    head = connection.send(b"first", without_body=False)
    for part in (OK, b"Content-Length: 2\r\n\r\n", b"h"):
        connection.data_received(part)
        with pytest.raises(DisconnectedError):
            connection.send(b"second", without_body=False)
        assert not connection.reusable
    connection.data_received(b"i")
    assert (await head).status == 200
    assert connection.reusable
    assert transport.written == [b"first"]


@pytest.mark.promise(2)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
async def test_bytes_that_no_request_asked_for_close_the_connection(used: bool) -> None:
    """At once, and a response that was complete before stays as it is."""
    connection, transport = connect()
    if used:
        head = connection.send(b"request", without_body=False)
        connection.data_received(WHOLE)
    connection.data_received(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    assert transport.closed
    assert not connection.reusable
    assert not connection.is_connected()
    with pytest.raises(DisconnectedError):
        connection.send(b"another", without_body=False)
    if used:
        body = bytearray()
        await connection.read_into(await head, body, 100)
        assert ((await head).status, body) == (200, b"hi")


@pytest.mark.promise(2)
async def test_bytes_after_a_response_in_its_packet_close_the_connection() -> None:
    """They are not taken for the response to the next request."""
    connection, transport = connect()
    head = connection.send(b"request", without_body=False)
    connection.data_received(WHOLE + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    assert (await head).status == 200
    assert transport.closed


async def test_a_request_that_is_not_sent_whole_leaves_no_reusable_connection() -> None:
    """The server has responded early; what it did not read would precede the next request."""
    connection, transport = connect()
    head = connection.send(b"request", without_body=False)
    transport.unsent = 10
    connection.data_received(WHOLE)
    assert (await head).status == 200
    assert not connection.reusable


@pytest.mark.parametrize(
    ("received", "error"),
    [(b"SIP/2.0 200 OK\r\n\r\n", InvalidResponseError), (b"HTTP/1.1 102 Wait\r\n\r\n" * 60, ResponseTooLongError)],
)
async def test_an_invalid_or_long_head_fails_the_request_and_closes(received: bytes, error: type[Exception]) -> None:
    """Whatever arrives later is not read."""
    connection, transport = connect(max_response_bytes=1_000)
    head = connection.send(b"request", without_body=False)
    connection.data_received(received)
    connection.data_received(WHOLE)
    with pytest.raises(error):
        await head
    assert transport.closed


@pytest.mark.parametrize("lost", [None, ConnectionResetError(104, "reset")], ids=["closed", "reset"])
@pytest.mark.parametrize("received", [b"", OK, b"HTTP/1.1 102 Wait\r\n\r\n"], ids=["nothing", "half", "interim"])
async def test_a_connection_that_is_lost_before_the_head_fails_the_request(
    received: bytes, lost: OSError | None
) -> None:
    """With the system's error, where it has one."""
    connection, _ = connect()
    head = connection.send(b"request", without_body=False)
    if received:
        connection.data_received(received)
    connection.connection_lost(lost)
    with pytest.raises(type(lost) if lost else DisconnectedError):
        await head


@pytest.mark.parametrize(
    ("fields", "lost", "error"),
    [
        (b"", None, None),
        (b"", ConnectionResetError(104, "reset"), ConnectionResetError),
        (b"Content-Length: 3\r\n", None, BrokenBodyError),
    ],
)
async def test_the_end_of_the_connection_is_that_of_a_body_without_a_length(
    fields: bytes, lost: OSError | None, error: type[Exception] | None
) -> None:
    """Of another body it is an error; what has arrived is read before."""
    connection, _ = connect()
    head = connection.send(b"request", without_body=False)
    connection.data_received(OK + fields + b"\r\nhi")
    body = bytearray()
    reading = asyncio.create_task(connection.read_into(await head, body, 100))
    await asyncio.sleep(0)
    connection.connection_lost(lost)
    if error is None:
        await reading
    else:
        with pytest.raises(error):
            await reading
    assert body == b"hi"


async def test_a_body_is_buffered_up_to_a_limit() -> None:
    """Beyond, the socket is not read until the body is."""
    connection, transport = connect()
    head = connection.send(b"request", without_body=False)
    connection.data_received(OK + b"Content-Length: 2000000\r\n\r\n")
    sent = 0
    while transport.reading and sent < 1_900_000:
        connection.data_received(b"x" * 65_536)
        sent += 65_536
    assert 0 < sent < 400_000
    body = bytearray()
    reading = asyncio.create_task(connection.read_into(await head, body, 1_000_000))
    while not reading.done():
        await asyncio.sleep(0)
        if transport.reading and not reading.done():
            connection.data_received(b"x" * 65_536)
    assert 1_000_000 <= len(body) < 1_200_000


@pytest.mark.parametrize("received", [b"", OK + b"Content-Length: 3\r\n\r\nhi"], ids=["head", "body"])
async def test_closing_ends_what_is_under_way(received: bytes) -> None:
    """Both a caller that waits for the head and one that reads the body."""
    connection, transport = connect()
    head = connection.send(b"request", without_body=False)
    if received:
        connection.data_received(received)
        waiting = asyncio.create_task(connection.read_into(await head, bytearray(), 100))
        await asyncio.sleep(0)
    connection.close()
    assert transport.closed
    with pytest.raises(DisconnectedError):
        await (waiting if received else head)


async def test_a_caller_that_gives_up_does_not_get_a_late_response() -> None:
    """Its future is cancelled; the connection is closed by the client."""
    connection, _ = connect()
    head = connection.send(b"request", without_body=False)
    head.cancel()
    connection.data_received(WHOLE)
    connection.close()
    assert head.cancelled()
