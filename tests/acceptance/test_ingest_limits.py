"""One producer attacks a real ingest; another one is served all the time, and memory stays bounded."""

import asyncio
import contextlib
import hashlib
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from chaski_core.route.loading import load_route
from chaski_core.route.resolved import Generation, ResolvedRoute
from chaski_core.route.resolved_document import resolved_yaml
from support.aws.embedded_sqs import ServerProcess, connect
from support.processes.services import BIN, Service

pytestmark = [pytest.mark.timeout(180), pytest.mark.landing]
KEYS = {"attacker": "the attacker's key of 32 bytes..", "other": "the other producer's key of 32 .."}
MEBIBYTE = 1024 * 1024
SERVED_WITHIN_SECONDS = 1.0
GROWTH = 256 * MEBIBYTE  # of the process; the chart's limit is 512 MiB in all
LINE = b'{"subject":"s","body":{"url":"https://api.example/"}}'


@dataclass
class Attacked:
    """A running ingest with the routes `team/shared`, of both producers, and `victim/other`, of the other one only."""

    service: Service
    control: Service  # an ingest of the same routes that is not attacked: the speed of the machine
    environment: dict[str, str]
    slowest: dict[str, float] = field(default_factory=lambda: {"message": 0.0, "probe": 0.0, "control": 0.0})
    statuses: set[int] = field(default_factory=set)
    sent: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its API."""
        host, _, port = str(self.service.ready["chaski.ingest.url"]).removeprefix("http://").partition(":")
        return host, int(port)

    def memory(self, field_name: str = "VmRSS") -> int:
        """Resident bytes; `VmHWM` is the peak."""
        assert self.service._process is not None
        status = Path(f"/proc/{self.service._process.pid}/status").read_text()
        (line,) = [each for each in status.splitlines() if each.startswith(field_name)]
        return int(line.split()[1]) * 1024

    def reset_peak(self) -> None:
        """Resets `VmHWM`."""
        assert self.service._process is not None
        Path(f"/proc/{self.service._process.pid}/clear_refs").write_text("5")

    async def open(
        self, route: str, *, batch: bool, length: int | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a request of the attacker, without its body."""
        reader, writer = await asyncio.open_connection(*self.address, limit=2**20)
        kind = ("messages:batch", "application/x-ndjson") if batch else ("messages", "application/json")
        head = [f"POST /v1/routes/{route}/{kind[0]} HTTP/1.1", "Host: h", f"Content-Type: {kind[1]}"]
        head += [f"Authorization: Bearer {KEYS['attacker']}"]
        head += ["Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        return reader, writer

    @contextlib.asynccontextmanager
    async def others_served(self, *kinds: str) -> AsyncIterator[None]:
        """The other producer sends to both routes all the time, on new and on kept connections, beside liveness probes.

        The same requests go to the control ingest at the same time. Their slowest one is the delay of machine, queue and test.

        Args:
            kinds: of requests that must be answered within a second more than the control's: `message`, `probe`. All must succeed.
        """
        async with aiohttp.ClientSession() as http:
            tasks = [
                asyncio.create_task(self._send(http, route, new=new, control=control))
                for control, routes in ((False, ("team/shared", "victim/other")), (True, ("victim/other",)))
                for route in routes
                for new in (False, True)
            ]
            tasks += [asyncio.create_task(self._probe(http, control=control)) for control in (False, True)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        assert self.statuses == {200, 202}
        assert self.sent >= 20
        assert max(self.slowest[kind] for kind in kinds) < SERVED_WITHIN_SECONDS + self.slowest["control"], self.slowest

    async def _send(self, http: aiohttp.ClientSession, route: str, *, new: bool, control: bool) -> None:
        headers = {"Authorization": f"Bearer {KEYS['other']}", "Content-Type": "application/json"}
        if new:
            headers["Connection"] = "close"
        service = self.control if control else self.service
        url = f"{service.ready['chaski.ingest.url']}/v1/routes/{route}/messages"
        await self._repeat("control" if control else "message", lambda: http.post(url, data=LINE, headers=headers))

    async def _probe(self, http: aiohttp.ClientSession, *, control: bool) -> None:
        service = self.control if control else self.service
        url = str(service.ready["chaski.metrics.url"]).replace("/metrics", "/healthz")
        await self._repeat("control" if control else "probe", lambda: http.get(url))

    async def _repeat(self, kind: str, request: Callable[[], Any]) -> None:
        """Sends a request every 50 ms, and notes its time since it was due: all of them see a delay of this process."""
        due = time.monotonic()
        while True:
            async with request() as answer:
                await answer.read()
            now = time.monotonic()
            self.statuses.add(answer.status)
            self.slowest[kind] = max(self.slowest[kind], now - due)
            self.sent += kind == "message"
            due = now + 0.05
            await asyncio.sleep(0.05)


def _route(namespace: str, name: str, producers: list[dict[str, object]], queue: str) -> ResolvedRoute:
    spec = {
        "queues": [{"name": "messages"}],
        "targets": {"allow": [{"name": "t", "url": "https://api.example/"}]},
        "producers": producers,
    }
    document = {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "spec": spec}
    route = load_route({**document, "metadata": {"name": name, "namespace": namespace}})
    return ResolvedRoute(route, (Generation(1, {"messages": (queue,)}),), (), (), "table")


def _resolved(sqs_url: str) -> str:
    fifo = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    client = connect(sqs_url)
    urls = [client.create_queue(QueueName=f"{name}.fifo", Attributes=fifo)["QueueUrl"] for name in ("shared", "other")]  # type: ignore[arg-type]
    client.close()
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    attacker: dict[str, object] = {"apiKeySha256": [hashes["attacker"]], "ratePerSecond": 1_000}
    other: dict[str, object] = {"apiKeySha256": [hashes["other"]]}
    return resolved_yaml(
        [_route("team", "shared", [attacker, other], urls[0]), _route("victim", "other", [other], urls[1])]
    )


@contextlib.asynccontextmanager
async def _running(folder: Path, *, descriptors: int | None = None) -> AsyncIterator[Attacked]:
    sqs = await asyncio.to_thread(ServerProcess, folder / "sqs")
    file = folder / "resolved.yaml"
    await asyncio.to_thread(file.write_text, await asyncio.to_thread(_resolved, sqs.url))
    environment = {
        "AWS_ENDPOINT_URL_SQS": sqs.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    made = Attacked(None, None, environment)  # type: ignore[arg-type]  # set below
    limited = f"ulimit -n {descriptors}; " if descriptors else ""
    command = ["/bin/sh", "-c", limited + 'exec "$0" "$@"', str(BIN / "chaski-ingest")]
    made.service = Service(
        made, folder / "ingest.log", *command, "--auth", "keys", "--routes", str(file), "--port", "0"
    )
    made.control = Service(
        made, folder / "control.log", "chaski-ingest", "--auth", "keys", "--routes", str(file), "--port", "0"
    )
    try:
        await asyncio.gather(made.service.start(), made.control.start())
        yield made
    finally:
        await asyncio.gather(made.service.end(), made.control.end())
        await asyncio.to_thread(sqs.kill)


@pytest.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[Attacked]:
    """A running ingest."""
    async with _running(tmp_path) as made:
        yield made


async def _status(reader: asyncio.StreamReader) -> int:
    return int((await reader.readline()).split(b" ")[1])


@pytest.mark.promise(9)
@pytest.mark.parametrize("kind", ["eight declared batches", "512 declared messages", "eight chunked batches"])
async def test_declared_bodies_take_nothing_from_others(
    attacked: Attacked, kind: str, report: Callable[[str], None]
) -> None:
    """Only bytes that have arrived take memory; a body that does not arrive is answered with 408 after five seconds."""
    count, batch, length = {
        "eight declared batches": (8, True, 16 * MEBIBYTE),
        "512 declared messages": (512, False, 262_144),
        "eight chunked batches": (8, True, None),
    }[kind]  # fmt: skip
    begun = time.monotonic()
    async with attacked.others_served("message", "probe"):
        opened = [await attacked.open("team/shared", batch=batch, length=length) for _ in range(count)]
        statuses = await asyncio.gather(*(_status(reader) for reader, _ in opened))
    assert set(statuses) == {408}
    assert 4 < time.monotonic() - begun < 14
    report(f"slowest {attacked.slowest}")
    for _, writer in opened:
        writer.close()


@pytest.mark.promise(12)
async def test_sixteen_mebibytes_of_newlines_are_refused_before_they_are_split(
    attacked: Attacked, report: Callable[[str], None]
) -> None:
    """Eight concurrent requests of a producer with a rate limit: 413 or 503, little memory, and others do not wait."""
    body = b"ab\n" * (16 * MEBIBYTE // 3)
    before = attacked.memory()
    attacked.reset_peak()
    async with attacked.others_served("message", "probe"):

        async def send() -> int:
            reader, writer = await attacked.open("team/shared", batch=True, length=len(body))
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(body), MEBIBYTE):
                    writer.write(body[start : start + MEBIBYTE])
                    await writer.drain()
            status = await _status(reader)
            writer.close()
            return status

        statuses = await asyncio.gather(*(send() for _ in range(8)))
        await asyncio.sleep(1)
    assert set(statuses) <= {413, 503}
    assert 413 in statuses
    report(
        f"grew by {(attacked.memory('VmHWM') - before) // MEBIBYTE} MiB, slowest {attacked.slowest}, answers {sorted(statuses)}"
    )
    assert attacked.memory("VmHWM") - before < GROWTH


@pytest.mark.promise(12)
async def test_eight_full_batches_at_once_keep_memory_within_its_bound(
    attacked: Attacked, report: Callable[[str], None]
) -> None:
    """Requests beyond the producer's share get 503. The queue is busy with the rest, so others' messages wait for it."""
    line = orjson.dumps({"subject": "s", "body": {"url": "https://api.example/", "content": "x" * 260_000}}) + b"\n"
    body = line * 64
    before = attacked.memory()
    attacked.reset_peak()

    async def send() -> int:
        reader, writer = await attacked.open("team/shared", batch=True, length=len(body))
        with contextlib.suppress(ConnectionError):
            writer.write(body)
            await writer.drain()
        status = await _status(reader)
        writer.close()
        return status

    async with attacked.others_served("probe"):
        statuses = await asyncio.gather(*(send() for _ in range(8)))
    assert set(statuses) <= {200, 429, 503}
    report(
        f"grew by {(attacked.memory('VmHWM') - before) // MEBIBYTE} MiB, slowest {attacked.slowest}, answers {sorted(statuses)}"
    )
    assert attacked.memory("VmHWM") - before < GROWTH


def _open_silent(address: tuple[str, int], count: int, data: bytes) -> list[socket.socket]:
    opened = []
    for _ in range(count):
        opened.append(socket.create_connection(address, timeout=30))
        if data:
            with contextlib.suppress(ConnectionError):
                opened[-1].sendall(data)
    return opened


@pytest.mark.promise(14)
@pytest.mark.parametrize("descriptors", [None, 1_024], ids=["descriptors enough", "1024 descriptors"])
@pytest.mark.parametrize("data", [b"", b"POST /"], ids=["nothing", "part of a head"])
async def test_four_thousand_silent_sockets_keep_no_producer_out(
    tmp_path: Path, descriptors: int | None, data: bytes, report: Callable[[str], None]
) -> None:
    """Any client can open them without a key. Beyond the limit the silent ones are closed, the oldest first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 6_000:
        pytest.skip(f"this process may have {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6_000), hard))
    async with _running(tmp_path, descriptors=descriptors) as made:
        before = made.memory()
        async with made.others_served("message", "probe"):
            opened = await asyncio.to_thread(_open_silent, made.address, 4_000, data)
            await asyncio.sleep(2)
        for each in opened:
            each.close()
        report(f"grew by {(made.memory('VmHWM') - before) // MEBIBYTE} MiB, slowest {made.slowest}")
        assert made.memory("VmHWM") - before < GROWTH
