"""A file of messages, when ingest stops taking them in the middle."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from chaski_cli.errors import CommandError
from chaski_cli.sending import client
from chaski_cli.sending.command import Destination, Lines, Tally, _send_lines
from chaski_cli.sending.lines import MAX_CHUNK_LINES
from chaski_cli.sending.resuming import Selection
from chaski_cli.sending.source import opened

LINE = b'{"id":"m","subject":"s","body":{"url":"http://127.0.0.1:9/"}}\n'

ALL = Lines(Selection("r"))


async def ingest_that_ends_after(accepted_requests: int) -> tuple[web.AppRunner, str]:
    """Accepts every line of so many requests, then knows no such route; its URL."""
    seen = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        lines = (await request.read()).splitlines()
        if seen > accepted_requests:
            return web.Response(status=404, body=orjson.dumps({"detail": "there is no route"}))
        return web.Response(body=b'{"status":202}\n' * len(lines))

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/routes/default/first/messages:batch", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def sent(
    url: str, path: Path, stop: asyncio.Event | None = None, lines: Lines = ALL, seconds: float = 1.0
) -> Tally:
    """What becomes of a file."""
    with opened(str(path)) as source:
        return await _send_lines(Destination(url, "default/first", seconds), source, lines, stop or asyncio.Event())


@contextlib.asynccontextmanager
async def ingest(answer: Callable[[list[bytes]], Awaitable[bytes]]) -> AsyncIterator[str]:
    """An ingest that answers each batch as it is told to; its URL."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=await answer((await request.read()).splitlines()))

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/routes/default/first/messages:batch", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def text(*subjects: str) -> bytes:
    """One line of each subject, without ids."""
    return b"".join(orjson.dumps({"subject": subject, "body": {}}) + b"\n" for subject in subjects)


async def test_a_stop_leaves_out_the_lines_that_were_accepted_behind_the_first_that_was_not(tmp_path: Path) -> None:
    """Else they would be sent twice when the run is continued; the lines have the same ids then."""
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
        second = await sent(url, tmp_path / "messages.ndjson", None, Lines(first.left))
    assert (second.complete, second.accepted) == (True, 2)
    assert ids == [["r-1", "r-2", "r-3", "r-4", "r-5"], ["r-1", "r-3"]]


async def test_a_stop_waits_for_an_answer_that_does_not_come_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of that request are among those that are left."""
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
    assert [entry.reason for entry in tally.rejected] == ["stopped before the answer came"] * 2


@pytest.mark.parametrize("kept", [True, False], ids=["with --rejected", "without"])
async def test_a_pipe_is_read_to_its_end_only_where_its_rest_is_to_be_kept(tmp_path: Path, kept: bool) -> None:
    """Behind a line that can't be read nothing is sent; a live pipe may have no end."""
    requests = list[int]()

    async def answer(lines: list[bytes]) -> bytes:
        requests.append(len(lines))
        return b'{"status":202}\n' * len(lines)

    reading, writing = os.pipe()
    lines = Lines(Selection("r"), rejected_to=tmp_path / "rest" if kept else None)
    async with ingest(answer) as url, asyncio.timeout(10):
        os.write(writing, text("a", "b") + b"?\n" + text("c"))
        if kept:
            os.close(writing)
        tally = await sent(url, Path(f"/dev/fd/{reading}"), None, lines)
    assert requests == [2]
    assert (tally.complete, tally.accepted, tally.left.flags) == (False, 2, "--run r --from-line 3")
    assert [(entry.number, entry.status) for entry in tally.rejected] == [(3, 400), (4, 503)]
    for descriptor in (reading, *(() if kept else (writing,))):
        os.close(descriptor)


async def test_what_was_accepted_before_a_refusal_is_told(tmp_path: Path) -> None:
    """The first request's lines count as accepted, all others are given back with the reason."""
    runner, url = await ingest_that_ends_after(1)
    (tmp_path / "messages.ndjson").write_bytes(LINE * (2 * MAX_CHUNK_LINES + 1))
    try:
        tally = await sent(url, tmp_path / "messages.ndjson")
    finally:
        await runner.cleanup()
    assert tally.accepted == MAX_CHUNK_LINES
    assert [entry.number for entry in tally.rejected] == list(range(MAX_CHUNK_LINES + 1, 2 * MAX_CHUNK_LINES + 2))
    assert all("there is no route" in entry.reason for entry in tally.rejected)
    assert tally.as_json()["resume"] == f"--run r --from-line {MAX_CHUNK_LINES + 1}"


async def test_a_refusal_from_the_start_is_an_error(tmp_path: Path) -> None:
    """Nothing was accepted, so the one reason is enough."""
    runner, url = await ingest_that_ends_after(0)
    (tmp_path / "messages.ndjson").write_bytes(LINE)
    try:
        with pytest.raises(CommandError, match="there is no route"):
            await sent(url, tmp_path / "messages.ndjson")
    finally:
        await runner.cleanup()
