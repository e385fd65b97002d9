"""A file of messages, with an ingest that stops accepting them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from chaski_cli.ledger.by_ids import accepted_ids
from chaski_cli.sending import client
from chaski_cli.sending.client import Destination
from chaski_cli.sending.file import FileOptions, Tally, _send_lines
from chaski_cli.sending.input import open_input
from chaski_cli.sending.lines import MAX_CHUNK_LINES, Selection
from chaski_runtime.process.command_error import CommandError
from support.serving import served_app

LINE = b'{"id":"m","subject":"s","body":{"url":"http://127.0.0.1:9/"}}\n'

ALL = FileOptions(Selection("r"))


@contextlib.asynccontextmanager
async def ingest_that_ends_after(accepted_requests: int) -> AsyncIterator[str]:
    """The URL of an ingest that accepts that number of requests, then returns 404."""
    seen = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        lines = (await request.read()).splitlines()
        if seen > accepted_requests:
            return web.Response(status=404, body=orjson.dumps({"detail": "route not found"}))
        return web.Response(body=b'{"status":202}\n' * len(lines))

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/routes/default/first/messages:batch", answer)
    async with served_app(app) as url:
        yield url


async def sent(
    url: str, path: Path, stop: asyncio.Event | None = None, options: FileOptions = ALL, seconds: float = 1.0
) -> Tally:
    """The outcome of a file."""
    with open_input(str(path)) as line_input:
        return await _send_lines(
            Destination(url, "default/first", seconds), line_input, options, stop or asyncio.Event()
        )


@contextlib.asynccontextmanager
async def ingest(answer: Callable[[list[bytes]], Awaitable[bytes]]) -> AsyncIterator[str]:
    """The URL of an ingest that responds to batches with `answer`."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=await answer((await request.read()).splitlines()))

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/routes/default/first/messages:batch", handle)
    async with served_app(app, cancel_handlers=True) as url:
        yield url


def text(*subjects: str) -> bytes:
    """One line per subject, without ids."""
    return b"".join(orjson.dumps({"subject": subject, "body": {}}) + b"\n" for subject in subjects)


async def test_a_resumed_run_skips_lines_accepted_after_the_first_unsettled_one(tmp_path: Path) -> None:
    """Or they would be sent twice; lines have the same ids in both runs."""
    stop, ids = asyncio.Event(), list[list[str]]()

    async def answer(lines: list[bytes]) -> bytes:
        ids.append([orjson.loads(line)["id"] for line in lines])
        results = [{"status": 503 if b'"a"' in line and len(ids) == 1 else 202} for line in lines]
        asyncio.get_running_loop().call_later(0.05, stop.set)
        return b"\n".join(map(orjson.dumps, results))

    (tmp_path / "messages.ndjson").write_bytes(text("a", "b", "a", "c", "c"))
    async with ingest(answer) as url:
        first = await sent(url, tmp_path / "messages.ndjson", stop, seconds=30.0)
        assert (first.stopped, first.accepted) == (True, 3)
        assert first.left.flags == "--run r --from-line 1 --skip-lines 2,4-5"
        second = await sent(url, tmp_path / "messages.ndjson", None, FileOptions(first.left))
    assert (second.complete, second.accepted) == (True, 2)
    assert ids == [["r-1", "r-2", "r-3", "r-4", "r-5"], ["r-1", "r-3"]]


async def test_a_stop_waits_a_limited_time_for_a_response(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of that request are unsettled."""
    monkeypatch.setattr(client, "_STOP_SECONDS", 0.1)
    stop = asyncio.Event()

    async def answer(_: list[bytes]) -> bytes:
        stop.set()
        await asyncio.Event().wait()
        return b""

    (tmp_path / "messages.ndjson").write_bytes(text("a", "b"))
    async with ingest(answer) as url, asyncio.timeout(10):
        tally = await sent(url, tmp_path / "messages.ndjson", stop)
    assert (tally.stopped, tally.accepted, tally.left.flags) == (True, 0, "--run r --from-line 1")
    assert [entry.reason for entry in tally.rejected] == ["stopped before the response arrived"] * 2


@pytest.mark.parametrize("kept", [True, False], ids=["with --rejected", "without"])
async def test_a_pipe_is_read_to_its_end_only_if_rejected_lines_are_written(tmp_path: Path, kept: bool) -> None:
    """Nothing is sent after an unreadable line; a live pipe may have no end."""
    requests = list[int]()

    async def answer(lines: list[bytes]) -> bytes:
        requests.append(len(lines))
        return b'{"status":202}\n' * len(lines)

    reading, writing = os.pipe()
    options = FileOptions(Selection("r"), rejected_to=tmp_path / "rest" if kept else None)
    async with ingest(answer) as url, asyncio.timeout(10):
        os.write(writing, text("a", "b") + b"?\n" + text("c"))
        if kept:
            os.close(writing)
        tally = await sent(url, Path(f"/dev/fd/{reading}"), None, options)
    assert requests == [2]
    assert (tally.complete, tally.accepted, tally.left.flags) == (False, 2, "--run r --from-line 3")
    assert [(entry.number, entry.status) for entry in tally.rejected] == [(3, 400), (4, 503)]
    for descriptor in (reading, *(() if kept else (writing,))):
        os.close(descriptor)


async def test_lines_accepted_before_a_rejection_are_reported(tmp_path: Path) -> None:
    """The first request's lines count as accepted, all others are rejected with the reason."""
    (tmp_path / "messages.ndjson").write_bytes(LINE * (2 * MAX_CHUNK_LINES + 1))
    async with ingest_that_ends_after(1) as url:
        tally = await sent(url, tmp_path / "messages.ndjson")
    assert tally.accepted == MAX_CHUNK_LINES
    assert [entry.number for entry in tally.rejected] == list(range(MAX_CHUNK_LINES + 1, 2 * MAX_CHUNK_LINES + 2))
    assert all("route not found" in entry.reason for entry in tally.rejected)
    assert tally.as_json()["resume"] == f"--run r --from-line {MAX_CHUNK_LINES + 1}"


async def test_a_rejection_of_the_first_request_is_an_error(tmp_path: Path) -> None:
    """Nothing was accepted."""
    (tmp_path / "messages.ndjson").write_bytes(LINE)
    async with ingest_that_ends_after(0) as url:
        with pytest.raises(CommandError, match="route not found"):
            await sent(url, tmp_path / "messages.ndjson")


async def test_each_result_is_a_line_that_the_ledger_reads(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With the line of the file and the identity; rejected lines have the reason."""

    async def answer(lines: list[bytes]) -> bytes:
        results = [{"line": n, "status": 202, "id": f"l{n}", "messageId": f"i{n}"} for n in range(1, len(lines) + 1)]
        results[1] = {"line": 2, "status": 400, "detail": "wrong"}
        return b"".join(orjson.dumps(each) + b"\n" for each in results)

    (tmp_path / "messages.ndjson").write_bytes(b"\n" + text("a", "b", "c"))
    async with ingest(answer) as url:
        await sent(url, tmp_path / "messages.ndjson", None, FileOptions(Selection("r"), output="ndjson"))
    lines = capfdbinary.readouterr().out.splitlines()
    assert sorted((each["line"], each["status"]) for each in map(orjson.loads, lines)) == [(2, 202), (3, 400), (4, 202)]
    assert {orjson.loads(line)["schemaVersion"] for line in lines} == {1}
    assert accepted_ids(lines) == {"i1", "i3"}
