"""A file of messages, when ingest stops taking them in the middle."""

from pathlib import Path

import orjson
import pytest
from aiohttp import web

from chaski_cli.errors import CommandError
from chaski_cli.sending.command import Destination, _send_lines
from chaski_cli.sending.lines import MAX_CHUNK_LINES

LINE = b'{"id":"m","subject":"s","body":{"url":"http://127.0.0.1:9/"}}\n'


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


async def test_what_was_accepted_before_a_refusal_is_told(tmp_path: Path) -> None:
    """The first request's lines count as accepted, all others are given back with the reason."""
    runner, url = await ingest_that_ends_after(1)
    (tmp_path / "messages.ndjson").write_bytes(LINE * (2 * MAX_CHUNK_LINES + 1))
    try:
        tally = await _send_lines(Destination(url, "default/first", 1.0), str(tmp_path / "messages.ndjson"))
    finally:
        await runner.cleanup()
    assert tally.accepted == MAX_CHUNK_LINES
    assert [entry.number for entry in tally.rejected] == list(range(MAX_CHUNK_LINES + 1, 2 * MAX_CHUNK_LINES + 2))
    assert all("there is no route" in entry.reason for entry in tally.rejected)


async def test_a_refusal_from_the_start_is_an_error(tmp_path: Path) -> None:
    """Nothing was accepted, so the one reason is enough."""
    runner, url = await ingest_that_ends_after(0)
    (tmp_path / "messages.ndjson").write_bytes(LINE)
    try:
        with pytest.raises(CommandError, match="there is no route"):
            await _send_lines(Destination(url, "default/first", 1.0), str(tmp_path / "messages.ndjson"))
    finally:
        await runner.cleanup()
