"""The canary as a process, with a running `chaski dev`."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path

import aiohttp
import orjson

from support.metric_pages import value
from support.ports import free_port
from support.processes.dev import dev_server, route

WITHIN = 60.0


async def test_the_whole_path_is_measured(tmp_path: Path) -> None:
    """From the canary through ingest, queue and worker to its sink; no message arrives through a route that does not allow the sink."""
    port = free_port()
    sink = f"http://127.0.0.1:{port}/"
    routes = route("good", sink), route("deaf", "http://127.0.0.1:9/")
    async with dev_server(tmp_path, *routes) as dev:
        log = tmp_path / "canary.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "chaski_ingest.canary", "--ingest", dev.url, "--sink-url", sink,
                "--route", "t/good", "--route", "t/deaf", "--interval", "0.5",
                "--host", "127.0.0.1", "--port", str(port), "--metrics-port", "0",
                stdin=DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            async with asyncio.timeout(WITHIN), aiohttp.ClientSession() as http:
                while b'"ready"' not in (output := await asyncio.to_thread(log.read_bytes)):
                    assert process.returncode is None, output
                    await asyncio.sleep(0.1)
                page = orjson.loads(output.splitlines()[0])["chaski.metrics.url"]
                arrived = 0.0
                while arrived < 3:
                    await asyncio.sleep(0.2)
                    async with http.get(page) as response:
                        text = await response.text()
                    arrived = value(text, "chaski_canary_latency_seconds_count", route="good")
            assert value(text, "chaski_canary_latency_seconds_count", route="deaf") == 0
            assert value(text, "chaski_canary_messages_total", route="deaf", result="accepted") >= 1
            assert value(text, "chaski_canary_latency_seconds_sum", route="good") / arrived < WITHIN
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WITHIN) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
