"""`chaski console` over queues and a table on AWS's protocols."""

import asyncio
import re
from asyncio.subprocess import DEVNULL
from pathlib import Path

import aiohttp
import orjson

from acceptance.cli_process import chaski
from chaski_core.deadletter import DeadLetter
from chaski_core.ladder import Reason
from chaski_runtime.clock import SystemClock
from support.devs import CHASKI, route
from support.processes import Cloud
from support.standins import standins

WITHIN = 60.0
HEADER = {"X-Forwarded-User": "ada"}


def a_letter() -> DeadLetter:
    """One that was given up just now."""
    document = {"subject": "s", "body": {"url": "http://127.0.0.1:9/x", "content": "about a llama"}}
    now = SystemClock().now_ms()
    url = "http://127.0.0.1:9/x"
    return DeadLetter("t/r", "m-1", "s", now - 5_000, Reason.EXHAUSTED, "503", "target", url, 3, (), document)


async def test_it_finds_shows_and_sends_again_behind_a_proxy(tmp_path: Path) -> None:
    """Nobody gets in without a name; who does finds a dead letter by a word, and sends it back to its queue."""
    async with standins("embedded", tmp_path) as urls:
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route("r", "http://127.0.0.1:9/"))
        await cloud.keep(a_letter())
        log = tmp_path / "console.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                CHASKI, "console", "--route", cloud.file, "--auth", "header", "--port", "0", "--log-format", "json",
                stdin=DEVNULL, stdout=out, stderr=out, env=cloud.environment,
            )  # fmt: skip
        try:
            async with asyncio.timeout(WITHIN):
                while b'"ready"' not in (said := await asyncio.to_thread(log.read_bytes)):
                    assert process.returncode is None, said
                    await asyncio.sleep(0.1)
            base = next(orjson.loads(line)["chaski.console.url"] for line in said.splitlines() if b'"ready"' in line)
            await look_and_replay(base, cloud)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), WITHIN) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await cloud.close()


async def look_and_replay(base: str, cloud: Cloud) -> None:
    """What one would do in a browser."""
    async with aiohttp.ClientSession() as stranger, stranger.get(base) as answer:
        assert answer.status == 401
    async with aiohttp.ClientSession(headers=HEADER) as http:
        async with http.get(base) as answer:
            assert "backlog" in await answer.text()
        async with http.get(f"{base}dead-letters?text=LLAMA") as answer:
            page = await answer.text()
        assert "/dead-letters/m-1" in page
        async with http.get(f"{base}messages/m-1") as answer:
            assert "dead-lettered" in await answer.text()
        token = re.search(r'name="token" value="(\w+)"', page)
        assert token is not None
        assert await cloud.lying() == 0
        form = {"token": token[1], "action": "replay", "id": "m-1"}
        async with http.post(f"{base}dead-letters", data=form) as answer:
            assert "1 sent again" in await answer.text()
        assert await cloud.lying() == 1


async def test_a_route_that_is_none_is_told(tmp_path: Path) -> None:
    """With exit code 2, and without a trace."""
    (tmp_path / "resolved.yaml").write_text("kind: Other\n")
    ended = await chaski("console", "--route", tmp_path / "resolved.yaml", "--auth", "none", "--port", "0")
    assert ended.code == 2
    assert "Traceback" not in ended.err
