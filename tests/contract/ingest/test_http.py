"""The HTTP API over real sockets, as docs/http-api.md describes it."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from chaski_core.errors import BackendUnavailableError
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest.auth.authenticators import Authenticated, Denied
from chaski_ingest.http.app import Ingest
from chaski_ingest.http.server import IngestServer
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.settings import IngestSettings, SendingSettings
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from unit.ingest.fakes import Directory, FakeBackend, FakeQueue, make_ingest, resolved

MESSAGE: dict[str, Any] = {"subject": "pc_send_88_519", "body": {"url": "https://api.example/hooks/1"}}
PATH = "/v1/routes/helpdesk/conversations/messages"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


class Running:
    """An ingest on a free port, and a client for it."""

    def __init__(self, ingest: Ingest, server: IngestServer, port: int, client: aiohttp.ClientSession) -> None:
        self.ingest = ingest
        self.server = server
        self.port = port
        self.client = client

    async def post(
        self, body: object, path: str = PATH, headers: Mapping[str, str] = JSON
    ) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and JSON of the response."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.client.post(path, data=data, headers=headers) as response:
            return response.status, response.headers, orjson.loads(await response.read())


class Starter:
    """Starts ingests, and stops them after the test."""

    def __init__(self) -> None:
        self._running: list[Running] = []

    async def __call__(self, backend: FakeBackend | None = None, **more: Any) -> Running:
        """An ingest with this backend; `more`: further arguments of `make_ingest`."""
        ingest = make_ingest(backend or FakeBackend(), **more)
        server = IngestServer(ingest, {"/readyz": lambda: "draining" if ingest.draining else None})
        port = await server.start("127.0.0.1", 0)
        client = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        self._running.append(Running(ingest, server, port, client))
        return self._running[-1]

    async def stop(self) -> None:
        """Stops all."""
        for running in self._running:
            await running.client.close()
            await running.server.drain()


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Starter]:
    """Starts ingests."""
    starter = Starter()
    yield starter
    await starter.stop()


async def test_a_message_is_answered_202_with_its_id_and_place(start: Starter) -> None:
    """And is on the queue that the response names."""
    backend = FakeBackend()
    running = await start(backend)
    status, headers, answer = await running.post(MESSAGE)
    assert status == 202
    assert headers["Content-Type"] == "application/json"
    assert set(answer) == {"id", "messageId", "subject", "queue", "partition"}
    assert (answer["subject"], answer["queue"]) == ("pc_send_88_519", "messages")
    queue = backend.queues[f"messages-{answer['partition']}"]
    assert [message.group_id for message in queue.taken] == ["pc_send_88_519"]


@pytest.mark.promise(1)
async def test_no_response_is_sent_before_the_queue_has_acknowledged(start: Starter) -> None:
    """While the queue delays its response, so does ingest."""
    backend = FakeBackend()
    queue = backend.queue("assignments-0")
    queue.open.clear()
    running = await start(backend)
    asking = asyncio.create_task(running.post(MESSAGE | {"subject": "pc_assignments_1"}))
    while not queue.calls:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert not asking.done()
    queue.open.set()
    assert (await asking)[0] == 202


@pytest.mark.promise(1)
async def test_an_unavailable_queue_is_answered_503_with_retry_after(start: Starter) -> None:
    """The time that the backend returned, rounded up."""
    unavailable = BackendUnavailableError("connection refused", retry_after_seconds=2.5)
    running = await start(FakeBackend(lambda url: FakeQueue(url, error=unavailable)))
    status, headers, answer = await running.post(MESSAGE)
    assert (status, headers["Retry-After"]) == (503, "3")
    assert headers["Content-Type"] == "application/problem+json"
    assert answer["status"] == 503
    assert "connection refused" in answer["detail"]


async def test_an_invalid_message_is_answered_400_with_every_error(start: Starter) -> None:
    """As problem details with `errors`."""
    status, headers, answer = await (await start()).post({"subject": "", "body": {"url": 5, "method": "GRAB"}})
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert set(answer) == {"type", "title", "status", "detail", "errors"}
    assert {error["field"] for error in answer["errors"]} == {"subject", "body.url", "body.method"}


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "part"),
    [
        ("/v1/routes/helpdesk/nothing/messages", "POST", JSON, 404, 'namespace "helpdesk" has no route "nothing"'),
        ("/v1/elsewhere", "POST", JSON, 404, "/v1/elsewhere"),
        (PATH, "GET", JSON, 405, "GET"),
        (PATH + ":batch", "PUT", NDJSON, 405, "PUT"),
        (PATH, "POST", {"Content-Type": "text/plain"}, 415, "text/plain"),
        (PATH, "POST", JSON | {"Content-Encoding": "gzip"}, 415, "gzip"),
        (PATH + ":batch", "POST", JSON, 415, "application/x-ndjson"),
        (PATH, "POST", JSON | {"Idempotency-Key": "k" * 300}, 400, "Idempotency-Key"),
    ],
)
async def test_a_refused_request_is_answered_with_a_problem(
    start: Starter, path: str, method: str, headers: dict[str, str], status: int, part: str
) -> None:
    """The detail names what was requested, and does not reveal which routes exist."""
    running = await start()
    body = gzip.compress(orjson.dumps(MESSAGE)) if "Content-Encoding" in headers else orjson.dumps(MESSAGE)
    async with running.client.request(method, path, data=body, headers=headers) as response:
        assert response.status == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers.get("Allow") == ("POST" if status == 405 else None)
        answer = orjson.loads(await response.read())
    assert answer["status"] == status
    assert part in answer["detail"]
    assert "conversations" not in answer["detail"]


async def test_a_suspended_route_is_answered_429(start: Starter) -> None:
    """With a time to wait before the next try."""
    status, headers, _ = await (await start(routes=Directory(resolved(suspended=True)))).post(MESSAGE)
    assert (status, headers["Retry-After"]) == (429, "60")


@pytest.mark.promise(12)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize(("extra", "expected"), [(0, 202), (1, 413)])
async def test_a_message_may_have_262144_bytes(start: Starter, chunked: bool, extra: int, expected: int) -> None:
    """Whether the length is declared or found while reading."""
    frame = orjson.dumps(MESSAGE)[:-2] + b',"content":"'
    data = frame + b"a" * (262_144 - len(frame) - 3 + extra) + b'"}}'

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(data), 50_000):
            yield data[begin : begin + 50_000]

    running = await start()
    async with running.client.post(PATH, data=pieces() if chunked else data, headers=JSON) as response:
        assert response.status == expected
        kind = "application/json" if expected == 202 else "application/problem+json"
        assert response.headers["Content-Type"] == kind


@pytest.mark.promise(12)
async def test_a_batch_body_and_its_lines_are_bounded(start: Starter) -> None:
    """413 for the whole request."""
    running = await start(settings=IngestSettings(max_batch_bytes=2_000, max_batch_lines=5))
    line = orjson.dumps(MESSAGE) + b"\n"
    for body in (line * 6, b"x" * 2_001):
        status, _, answer = await running.post(body, PATH + ":batch", NDJSON)
        assert (status, answer["title"]) == (413, "Too large")


@pytest.mark.promise(12)
async def test_bodies_beyond_the_limit_of_all_bodies_are_refused_before_they_are_read(start: Starter) -> None:
    """503, until another request has ended. A small message is counted once, by the send buffer."""
    backend = FakeBackend()
    batch: dict[str, Any] = {"path": f"{PATH}:batch", "headers": {"Content-Type": "application/x-ndjson"}}
    running = await start(backend, settings=IngestSettings(max_body_bytes=4 * len(orjson.dumps(MESSAGE))))
    for index in range(4):
        backend.queue(f"messages-{index}").open.clear()
    first = asyncio.create_task(running.post(MESSAGE, **batch))
    while not any(queue.calls for queue in backend.queues.values()):
        await asyncio.sleep(0.005)
    status, headers, answer = await running.post(MESSAGE, **batch)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert answer["type"] == "urn:chaski:problem:overloaded"
    single = asyncio.create_task(running.post(MESSAGE))
    await asyncio.sleep(0.05)
    for queue in backend.queues.values():
        queue.open.set()
    assert (await first)[0] == 200
    assert (await single)[0] == 202
    assert (await running.post(MESSAGE, **batch))[0] == 200


@pytest.mark.promise(12)
async def test_a_full_buffer_is_answered_503(start: Starter) -> None:
    """Producers slow down while the queue does."""
    settings = IngestSettings(sending=SendingSettings(max_waiting_messages=0))
    status, headers, answer = await (await start(settings=settings)).post(MESSAGE)
    assert (status, headers["Retry-After"], answer["type"]) == (503, "1", "urn:chaski:problem:overloaded")


async def test_a_body_that_does_not_arrive_is_answered_408(start: Starter) -> None:
    """A slow client can't hold memory for long."""
    running = await start(settings=IngestSettings(body_timeout_seconds=0.1))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx".encode())
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert line.startswith(b"HTTP/1.1 408")


async def test_malformed_http_is_answered_400_with_a_problem(start: Starter) -> None:
    """Also where aiohttp's parser refuses it."""
    running = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 Bad Request\r\n" in head
    assert b"Content-Type: application/problem+json" in head
    assert "Transfer-Encoding" in orjson.loads(body)["detail"]


async def test_a_batch_is_answered_line_by_line(start: Starter) -> None:
    """200 and NDJSON, whatever the results of the lines."""
    running = await start()
    body = orjson.dumps(MESSAGE) + b"\n{}\n"
    async with running.client.post(PATH + ":batch", data=body, headers=NDJSON) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        answers = [orjson.loads(line) async for line in response.content]
    assert [(answer["line"], answer["status"]) for answer in answers] == [(1, 202), (2, 400)]


async def test_concurrent_requests_share_calls_to_the_queue(start: Starter) -> None:
    """Fifty concurrent requests are a few batches."""
    backend = FakeBackend(lambda url: FakeQueue(url, delay=0.02))
    running = await start(backend)
    answers = await asyncio.gather(*(running.post(MESSAGE | {"subject": "pc_assignments_1"}) for _ in range(50)))
    assert {status for status, _, _ in answers} == {202}
    queue = backend.queues["assignments-0"]
    assert len(queue.taken) == 50
    assert len(queue.calls) < 25


async def test_the_same_idempotency_key_gets_the_same_ids(start: Starter) -> None:
    """The queue deduplicates: a repeat gets the MessageId of the first."""
    backend = FakeBackend()
    running = await start(backend)
    first, again = [await running.post(MESSAGE, headers=JSON | {"Idempotency-Key": "k"}) for _ in range(2)]
    assert first[0] == again[0] == 202
    assert first[2] == again[2]
    sent = [message.deduplication_id for queue in backend.queues.values() for message in queue.taken]
    assert len(sent) == 2
    assert len(set(sent)) == 1


class FakeAuthenticator:
    """Admits one key, and denies all others with 403."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        """Decides by the Authorization header."""
        given = headers.get("authorization")
        if given == "Bearer good":
            return Authenticated(f"channels of {route.namespace}")
        return Denied(401, "no token") if given is None else Denied(403, "may not send")


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("Bearer bad", 403), ("Bearer good", 202)])
async def test_the_authenticator_decides_which_producers_may_send(
    start: Starter, token: str | None, status: int
) -> None:
    """And provides the producer of the metadata."""
    backend = FakeBackend()
    running = await start(backend, authenticator=FakeAuthenticator())
    headers = JSON if token is None else JSON | {"Authorization": token}
    assert (await running.post(MESSAGE, headers=headers))[0] == status
    bodies = [orjson.loads(message.body) for queue in backend.queues.values() for message in queue.taken]
    assert [body["metadata"]["producer"] for body in bodies] == (["channels of helpdesk"] if status == 202 else [])


async def test_the_next_request_sees_a_changed_route(start: Starter) -> None:
    """Routes are added, changed and removed while the process runs."""
    routes = Directory()
    running = await start(routes=routes)
    assert (await running.post(MESSAGE))[0] == 404
    routes.routes["helpdesk", "conversations"] = resolved()
    assert (await running.post(MESSAGE))[0] == 202
    changed: ResolvedRoute = resolved(partitions=1)
    routes.routes["helpdesk", "conversations"] = replace(changed)
    assert (await running.post(MESSAGE))[2]["partition"] == 0


@pytest.mark.promise(11)
async def test_draining_completes_requests_in_progress_and_refuses_new_ones(start: Starter) -> None:
    """Readiness fails first; the port is closed; the request in progress gets its 202."""
    backend = FakeBackend()
    for index in range(4):
        backend.queue(f"messages-{index}").open.clear()
    running = await start(backend)
    asking = asyncio.create_task(running.post(MESSAGE))
    while not any(queue.calls for queue in backend.queues.values()):
        await asyncio.sleep(0.005)
    assert running.server.ready() is None
    draining = asyncio.create_task(running.server.drain())
    await asyncio.sleep(0.05)
    assert running.server.ready() == "draining"
    assert not draining.done()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=1)
    for queue in backend.queues.values():
        queue.open.set()
    assert (await asking)[0] == 202
    await draining


@pytest.mark.promise(11)
async def test_a_draining_ingest_answers_503_on_connections_still_open(start: Starter) -> None:
    """And closes them, so that the next request goes to another server."""
    running = await start()
    await running.ingest.drain()
    status, headers, answer = await running.post(MESSAGE)
    assert (status, answer["type"]) == (503, "urn:chaski:problem:draining")
    assert headers["Retry-After"] == "1"
    assert headers["Connection"] == "close"


async def test_probes_can_share_the_port(start: Starter) -> None:
    """One port is enough on one machine."""
    running = await start()
    async with running.client.get("/readyz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    await running.ingest.drain()
    async with running.client.get("/readyz") as response:
        assert (response.status, await response.text()) == (503, "draining\n")


async def test_an_unexpected_failure_is_answered_500_and_the_next_request_works(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause is logged, not returned."""
    routes = Directory(resolved())
    running = await start(routes=routes)
    broken = resolved()
    routes.routes["helpdesk", "conversations"] = replace(broken, generations=())
    status, _, answer = await running.post(MESSAGE)
    assert status == 500
    assert "IndexError" not in answer["detail"]
    assert "IndexError" in caplog.text
    routes.routes["helpdesk", "conversations"] = broken
    assert (await running.post(MESSAGE))[0] == 202


async def test_responses_are_counted(start: Starter) -> None:
    """Accepted by subject group, rejected by reason; unknown route names are not used as labels."""
    metrics = MetricsRegistry()
    running = await start(metrics=IngestMetrics(metrics))
    await running.post(MESSAGE)
    await running.post(b"?")
    await running.post(MESSAGE, "/v1/routes/helpdesk/secret/messages")
    text = metrics.render().decode()
    assert (
        'chaski_messages_accepted_total{namespace="helpdesk",queue="messages",route="conversations",subject_group="88"} 1.0'
        in text
    )
    assert 'chaski_ingest_rejections_total{namespace="helpdesk",reason="invalid",route="conversations"} 1.0' in text
    assert 'chaski_ingest_rejections_total{namespace="none",reason="no-route",route="none"} 1.0' in text
    assert 'chaski_ingest_request_duration_seconds_count{kind="single",status="2xx"} 1.0' in text
    assert "secret" not in text
