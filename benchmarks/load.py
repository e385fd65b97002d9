"""The load generator, a process of its own: `python -m benchmarks.load JOB` prints its result as JSON.

Messages of one subject are sent over one connection, one after the other, so that their order is known. With a rate they are
sent when they are due, whether or not earlier ones were answered quickly, and count from when they were due.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import aiohttp
import orjson
import uvloop

from benchmarks import lean
from benchmarks.traffic import MARK_HEADER, Job, chunks, content, mark, message, read_job

Send = Callable[[range, float], Awaitable[int]]  # numbers of messages, time of sending -> number of accepted ones


async def _run(job: Job) -> dict[str, object]:
    seconds: list[float] = []
    async with _open(job) as senders:
        cpu, start = time.process_time(), time.monotonic()
        taken = await asyncio.gather(
            *(_stream(job, connection, send, start, seconds) for connection, send in enumerate(senders))
        )
        end = time.monotonic()
    return {
        "messages": job.messages,
        "taken": sum(taken),
        "started_at": start,
        "ended_at": end,
        "cpu_seconds": time.process_time() - cpu,
        "answer_seconds": seconds,
    }


async def _stream(job: Job, connection: int, send: Send, start: float, seconds: list[float]) -> int:
    taken = 0
    for numbers in chunks(job, connection):
        due = start + numbers[0] / job.rate if job.rate else 0.0
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        now = time.monotonic()
        sent = now if wait > 0 or not job.rate else due
        taken += await send(numbers, sent)
        seconds.append(time.monotonic() - sent)
    return taken


@contextlib.asynccontextmanager
async def _open(job: Job) -> AsyncIterator[list[Send]]:
    """A function that sends, for each connection."""
    if job.client == "aiohttp":
        connector = aiohttp.TCPConnector(limit=job.connections)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield [partial(_send_by_aiohttp, session, job)] * job.connections
        return
    connections = [await lean.connect(job.url) for _ in range(job.connections)]
    yield [partial(_send, connection, job) for connection in connections]
    for connection in connections:
        connection.close()


async def _send(connection: lean.Connection, job: Job, numbers: range, sent: float) -> int:
    status, body = await connection.ask(_request(job, numbers, sent))
    if job.lines > 1:
        return body.count(b'"status":202') if status == 200 else 0
    return int(status == 202)


def _request(job: Job, numbers: range, sent: float) -> bytes:
    if not job.target_url:
        return lean.post(job.url, {MARK_HEADER: mark(job, numbers[0], sent)}, content())
    if job.lines == 1:
        return lean.post(job.url, {"Content-Type": "application/json"}, message(job, numbers[0], sent))
    body = b"\n".join(message(job, number, sent) for number in numbers)
    return lean.post(f"{job.url}:batch", {"Content-Type": "application/x-ndjson"}, body)


async def _send_by_aiohttp(session: aiohttp.ClientSession, job: Job, numbers: range, sent: float) -> int:
    """As a program that calls the target itself: one request, its response read."""
    headers = {MARK_HEADER: mark(job, numbers[0], sent), "Content-Type": "text/plain"}
    async with session.post(job.url, data=content(), headers=headers) as answer:
        await answer.read()
        return int(answer.status == 202)


def main() -> None:
    """Runs the job of the argument."""
    job = read_job(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if job.loop == "uvloop" else None) as runner:
        sys.stdout.write(orjson.dumps(runner.run(_run(job))).decode())


if __name__ == "__main__":
    main()
