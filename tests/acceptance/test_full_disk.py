"""`chaski dev` on a disk that is full for a while."""

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from acceptance.cli_process import chaski, status_of
from chaski_embedded.storage.reader import State, open_reader
from support.processes.dev import DevServer, recording_target, route, send_batch, wait_until
from support.tools import missing

pytestmark = pytest.mark.landing

MESSAGES = 100  # before the disk is full, and again after it
SUBJECTS = 10


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """A file system of that size. It needs root: without it the test is skipped, and fails under CI=true."""
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        missing(f"a small tmpfs can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the free space."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4_096)
    return file


def lines(first: int, url: str) -> list[dict[str, object]]:
    """`MESSAGES` messages from that number on, the subjects in turn."""
    return [
        {"id": f"m{n}", "subject": f"s{n % SUBJECTS}", "body": {"url": f"{url}{n}", "content": "x" * 1_000}}
        for n in range(first, first + MESSAGES)
    ]


@pytest.mark.promise(13)
async def test_a_full_disk_loses_no_message_no_order_and_no_history(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Messages are refused and the process is not ready while it is full; afterwards all are delivered once, in order and traced."""
    slow = {"seconds": 0.4}
    async with recording_target(lambda *_: (slow["seconds"], 200)) as target, aiohttp.ClientSession() as http:
        with small_disk(tmp_path / "disk", "24m") as disk:
            server = DevServer(tmp_path, route("full", target.url))
            server.data = disk / "data"
            try:
                await server.start()
                await send_batch(http, server.url, "t/full", lines(0, target.url))
                await wait_until(lambda: len(target.seen) >= SUBJECTS, 20)
                filler = fill(disk)
                full_at = len(target.seen)
                answers = [await _post(http, server.url, {"id": f"full{n}", **_message(target.url)}) for n in range(5)]
                await asyncio.sleep(6)
                ready = {await status_of(f"{base}/readyz") for base in _bases(server)}
                answers.append(await _post(http, server.url, {"id": "full5", **_message(target.url)}))
                delivered_while_full = len(target.seen) - full_at
                filler.unlink()
                await wait_until(lambda: len(target.seen) >= MESSAGES, 60)
                slow["seconds"] = 0.0
                while (await status_of(f"{server.url}/readyz"))[0] != 200:
                    await asyncio.sleep(0.1)
                await send_batch(http, server.url, "t/full", lines(MESSAGES, target.url))
                await wait_until(lambda: len(target.seen) >= 2 * MESSAGES, 60)
                await asyncio.sleep(1)
                ledger = orjson.loads((await chaski("ledger", "--data", server.data, "--output", "json")).out)
                assert await server.stop() == 0
            finally:
                await server.end()
            report(f"{delivered_while_full} requests while it was full; {sorted(ready)}; {answers}; {ledger}")
            paths = [int(each.path.rpartition("/")[2]) for each in sorted(target.seen, key=lambda seen: seen.at)]
            assert {status for status, _ in ready} == {503}
            assert all("writes fail" in text for _, text in ready)
            assert answers == [503] * 6
            assert sorted(paths) == list(range(2 * MESSAGES))
            for subject in range(SUBJECTS):
                of_subject = [each for each in paths if each % SUBJECTS == subject]
                assert of_subject == sorted(of_subject)
            assert (ledger["accepted"], ledger["delivered"]) == (2 * MESSAGES, 2 * MESSAGES)
            assert (ledger["unaccounted"], ledger["balanced"]) == (0, True)
            with open_reader(server.data) as reader:
                traces = [reader.traces(f"m{number}") for number in range(2 * MESSAGES)]
            assert {len(found) for found in traces} == {1}
            assert {(trace.state, len(trace.attempts)) for (trace,) in traces} == {(State.DELIVERED, 1)}


def _bases(server: DevServer) -> tuple[str, str]:
    return server.url, server.metrics_url.removesuffix("/metrics")


def _message(url: str) -> dict[str, object]:
    return {"subject": "other", "body": {"url": url, "content": "x" * 50_000}}


async def _post(http: aiohttp.ClientSession, server: str, message: dict[str, object]) -> int:
    async with http.post(f"{server}/v1/routes/t/full/messages", json=message) as answer:
        return answer.status
