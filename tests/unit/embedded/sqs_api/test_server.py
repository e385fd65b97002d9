"""The SQS server over real sockets, with a queue controlled by the tests."""

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest

import chaski_embedded.sqs_api.server
from chaski_core.errors import BackendUnavailableError
from chaski_embedded.__main__ import welcome
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import AttributedReceived
from chaski_embedded.sqs_api.server import MAX_REQUEST_BYTES, start_server
from chaski_runtime.process.http_server import EVERY_ADDRESS, HttpServer
from support.tools import need_ipv6

URL = "http://elsewhere.example/000000000000/orders.fifo"
ATTRIBUTES = {
    "ContentBasedDeduplication": "false",
    "MaximumMessageSize": "1048576",
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
}
HEAD = AttributedReceived("id-1", "handle-1", b"1", "g", "d1", 1, 1_000, 1, 1_000)
FOLLOWER = AttributedReceived("id-2", "handle-2", b"2", "g", "d2", 2, 1_000, 1, 1_000)


class FakeQueue:
    """A queue that returns its messages when the test allows it, cancelled or not."""

    def __init__(self) -> None:
        self.messages: Sequence[AttributedReceived] = ()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.heeds_cancel = True
        self.given_back: list[AttributedReceived] = []
        self.gave_back = asyncio.Event()
        self.waits: list[float] = []
        self.failure: Exception | None = None

    async def receive(self, *, wait_seconds: float, **_: Any) -> Sequence[AttributedReceived]:
        """Waits for the test; messages for a cancelled caller are lost, or returned all the same."""
        self.waits.append(wait_seconds)
        if self.failure:
            raise self.failure
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if self.heeds_cancel:
                raise
        return self.messages

    async def release(self, messages: Sequence[AttributedReceived]) -> None:
        """Records released messages."""
        self.given_back.extend(messages)
        self.gave_back.set()


class FakeBroker:
    """A broker of one queue."""

    def __init__(self) -> None:
        self.fake = FakeQueue()
        self.opened: list[str] = []

    def queue(self, url: str) -> FakeQueue:
        """The one queue, under any name."""
        self.opened.append(url)
        return self.fake

    def now_ms(self) -> int:
        """The wall clock."""
        return time.time_ns() // 1_000_000

    async def attributes(self, url: str) -> Mapping[str, str]:
        """The default attributes of a queue."""
        self.opened.append(url)
        return ATTRIBUTES


@asynccontextmanager
async def _serving(broker: FakeBroker) -> AsyncIterator[HttpServer]:
    server = await start_server(cast("EmbeddedBroker", broker))
    try:
        yield server
    finally:
        await server.close()


async def _post(url: str, action: str, fields: Any = None, data: bytes | None = None) -> tuple[int, Any, str]:
    headers = {"X-Amz-Target": action, "Content-Type": "application/x-amz-json-1.0"}
    body = io.BytesIO(json.dumps(fields).encode() if data is None else data)
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None, response.headers.get("x-amzn-query-error", "")


@pytest.mark.parametrize("url", [URL, "https://[::1/orders.fifo", "embedded://orders.fifo", "orders.fifo"])
async def test_only_the_name_in_a_queue_url_matters(url: str) -> None:
    """A queue is found under any host and port."""
    broker = FakeBroker()
    broker.fake.may_answer.set()
    async with _serving(broker) as server:
        status, answer, _ = await _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": url})
    assert (status, answer) == (200, {})
    assert set(broker.opened) == {"embedded://orders.fifo"}


async def test_a_client_that_disconnects_ends_its_long_poll() -> None:
    """The waiting receive is cancelled, so that it receives nothing for a client that has left."""
    broker = FakeBroker()
    async with _serving(broker) as server:
        call = asyncio.create_task(
            _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL, "WaitTimeSeconds": 20})
        )
        await asyncio.wait_for(broker.fake.asked.wait(), 5)
        call.cancel()
        await asyncio.wait_for(broker.fake.cancelled.wait(), 5)
    assert broker.fake.waits == [20]
    assert broker.fake.given_back == []


async def test_messages_received_for_a_disconnected_client_are_released() -> None:
    """A receive that could no longer be cancelled returned messages that no client handles."""
    broker = FakeBroker()
    broker.fake.heeds_cancel = False
    broker.fake.messages = (HEAD, FOLLOWER)
    async with _serving(broker) as server:
        call = asyncio.create_task(
            _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL, "WaitTimeSeconds": 20})
        )
        await asyncio.wait_for(broker.fake.asked.wait(), 5)
        call.cancel()
        await asyncio.wait_for(broker.fake.gave_back.wait(), 5)
    assert broker.fake.given_back == [HEAD, FOLLOWER]


async def test_closing_ends_long_polls_with_an_empty_response() -> None:
    """A closing server does not make its clients wait, and receives nothing for them."""
    broker = FakeBroker()
    async with _serving(broker) as server:
        call = asyncio.create_task(
            _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL, "WaitTimeSeconds": 20})
        )
        await asyncio.wait_for(broker.fake.asked.wait(), 5)
        await asyncio.wait_for(server.close(), 5)
        assert await asyncio.wait_for(call, 5) == (200, {}, "")
    assert broker.fake.cancelled.is_set()


async def test_messages_received_while_the_server_closes_reach_the_client() -> None:
    """The client is connected, so nothing is released."""
    broker = FakeBroker()
    broker.fake.heeds_cancel = False
    broker.fake.messages = (HEAD,)
    async with _serving(broker) as server:
        call = asyncio.create_task(
            _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL, "WaitTimeSeconds": 20})
        )
        await asyncio.wait_for(broker.fake.asked.wait(), 5)
        await server.close()
        _, answer, _ = await asyncio.wait_for(call, 5)
    assert [each["Body"] for each in answer["Messages"]] == ["1"]
    assert broker.fake.given_back == []


@pytest.mark.parametrize(
    ("action", "status", "code"),
    [
        pytest.param("AmazonSQS.Nothing", 404, "InvalidAction;Sender", id="unknown action"),
        pytest.param("DynamoDB_20120810.ListTables", 404, "InvalidAction;Sender", id="another service"),
        pytest.param("", 404, "InvalidAction;Sender", id="no action: the former Query protocol"),
        pytest.param(
            "AmazonSQS.StartMessageMoveTask",
            400,
            "AWS.SimpleQueueService.UnsupportedOperation;Sender",
            id="not offered",
        ),
    ],
)
async def test_an_unsupported_action_is_refused(action: str, status: int, code: str) -> None:
    """The header has the code of the former protocol."""
    async with _serving(FakeBroker()) as server:
        answered, _, body = await _post(server.url, action, {})
    assert (answered, body) == (status, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({}, "MissingParameter;Sender", id="no queue"),
        pytest.param({"QueueUrl": URL, "MaxNumberOfMessages": 0}, "InvalidParameterValue;Sender", id="no messages"),
        pytest.param(
            {"QueueUrl": URL, "MaxNumberOfMessages": 11}, "InvalidParameterValue;Sender", id="eleven messages"
        ),
        pytest.param({"QueueUrl": URL, "WaitTimeSeconds": 21}, "InvalidParameterValue;Sender", id="long wait"),
        pytest.param({"QueueUrl": URL, "VisibilityTimeout": 43_201}, "InvalidParameterValue;Sender", id="long hold"),
        pytest.param({"QueueUrl": URL, "ReceiveRequestAttemptId": ""}, "InvalidParameterValue;Sender", id="attempt id"),
        pytest.param({"QueueUrl": URL, "AttributeNames": ["Foobar"]}, "InvalidAttributeName;Sender", id="attribute"),
        pytest.param({"QueueUrl": URL, "WaitTimeSeconds": "1"}, "MalformedInput;Sender", id="text for a number"),
        pytest.param([], "MalformedInput;Sender", id="no object"),
    ],
)
async def test_an_invalid_receive_is_refused_before_the_queue_is_called(fields: Any, code: str) -> None:
    """Nothing is received for an invalid request."""
    broker = FakeBroker()
    async with _serving(broker) as server:
        status, _, body = await _post(server.url, "AmazonSQS.ReceiveMessage", fields)
    assert (status, body) == (400, code)
    assert broker.fake.waits == []


async def test_a_request_beyond_the_limit_is_refused() -> None:
    """Memory is bounded: 8 MiB is more than any allowed batch needs."""
    async with _serving(FakeBroker()) as server:
        status, _, body = await _post(server.url, "AmazonSQS.SendMessage", data=b" " * (MAX_REQUEST_BYTES + 1))
    assert (status, body) == (413, "RequestEntityTooLarge;Sender")


async def test_a_request_body_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops in the middle of its request occupies the server no longer than the limit."""
    monkeypatch.setattr(chaski_embedded.sqs_api.server, "BODY_TIMEOUT_SECONDS", 0.2)
    async with _serving(FakeBroker()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: AmazonSQS.ListQueues\r\nContent-Length: 10\r\n\r\n{")
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_unavailable_broker_is_503() -> None:
    """SDKs retry a 503; they would not retry a 400."""
    broker = FakeBroker()
    broker.fake.failure = BackendUnavailableError("the disk is full")
    async with _serving(broker) as server:
        status, answer, body = await _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL})
    assert (status, body) == (503, "ServiceUnavailable;Receiver")
    assert answer["message"] == "the disk is full"


async def test_an_unexpected_error_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The response has no details; the log has the traceback."""
    broker = FakeBroker()
    broker.fake.failure = KeyError("inside")
    with caplog.at_level(logging.ERROR):
        async with _serving(broker) as server:
            status, answer, body = await _post(server.url, "AmazonSQS.ReceiveMessage", {"QueueUrl": URL})
    assert (status, body) == (500, "InternalFailure;Receiver")
    assert "inside" not in answer["message"]
    assert "KeyError: 'inside'" in caplog.text


async def test_an_address_in_use_is_an_error() -> None:
    """The second server fails at once and leaves nothing running."""
    async with _serving(FakeBroker()) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            await start_server(cast("EmbeddedBroker", FakeBroker()), port=port)


async def test_every_address_is_of_both_families() -> None:
    """For clients in other Pods, which have addresses of either; the URL is one of this machine."""
    need_ipv6()
    server = await start_server(cast("EmbeddedBroker", FakeBroker()), EVERY_ADDRESS)
    port = server.url.removeprefix("http://127.0.0.1:")
    for address in ("127.0.0.1", "[::1]"):
        assert "InvalidAction" in (await _post(f"http://{address}:{port}", "AmazonSQS.NoSuchAction", {}))[2]
    await server.close()


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), (EVERY_ADDRESS, True)],
)
def test_the_welcome_warns_where_others_can_reach_the_server(host: str, warned: bool) -> None:
    """The server has no authentication, so an address that others can reach has a warning in capitals."""
    text = welcome("http://127.0.0.1:9324", host)
    assert ("FULL ACCESS" in text) is warned
    assert "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:9324" in text
    assert "aws sqs --endpoint-url http://127.0.0.1:9324" in text  # version 1 of the CLI does not read the variable
