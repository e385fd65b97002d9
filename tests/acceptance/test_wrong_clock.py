"""`chaski dev` with a wrong wall clock delivers all accepted messages."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson
import pytest

from acceptance.cli_process import chaski
from support.processes import dev
from support.processes.dev import DevServer, recording_target, route, send_batch, wait_until

pytestmark = pytest.mark.landing

MESSAGES = 30
DAY = 86_400


def command(folder: Path, days: float) -> Path:
    """A program `chaski` whose wall clock is off by a number of days; its monotonic clock is right."""
    file = folder / "chaski"
    file.write_text(
        f"#!{sys.executable}\n"
        "import sys, time\n"
        "now, now_ns = time.time, time.time_ns\n"
        f"time.time = lambda: now() + {days * DAY}\n"
        f"time.time_ns = lambda: now_ns() + {round(days * DAY * 1e9)}\n"
        "from chaski_cli.__main__ import main\n"
        "sys.exit(main())\n"
    )
    file.chmod(0o755)
    return file


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    "days",
    [
        pytest.param((-20,), id="stopped for 20 days"),
        pytest.param((0, 400), id="one start 400 days ahead"),
        pytest.param((0, -400), id="one start 400 days behind"),
    ],
)
async def test_accepted_messages_are_delivered_after_starts_with_wrong_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Callable[[str], None], days: tuple[float, ...]
) -> None:
    """Suspended runs with wrong clocks, then one that delivers: all messages arrive, and the ledger is balanced."""
    async with recording_target(lambda *_: (0.0, 200)) as target, aiohttp.ClientSession() as http:
        server = DevServer(tmp_path, route("clocks", target.url, suspend={"delivery": True}))
        try:
            for run, off in enumerate(days):
                monkeypatch.setattr(dev, "CHASKI", command(tmp_path, off))
                await server.start()
                if run == 0:
                    lines = [
                        {"id": f"m{n}", "subject": f"s{n % 5}", "body": {"url": target.url}} for n in range(MESSAGES)
                    ]
                    assert len(await send_batch(http, server.url, "t/clocks", lines)) == MESSAGES
                await asyncio.sleep(12 if off > 0 else 0)  # long enough for housekeeping
                await server.stop()
            monkeypatch.undo()
            (tmp_path / "route0.yaml").write_bytes(orjson.dumps(route("clocks", target.url)))
            await server.start()
            await wait_until(lambda: len(target.seen) >= MESSAGES, 30)
            await server.stop()
        finally:
            await server.end()
    ended = await chaski("ledger", "--data", tmp_path / "data", "--output", "json")
    report(f"{len(target.seen)} requests; ledger {ended.out.strip()}")
    account = orjson.loads(ended.out)
    assert (account["delivered"], account["unaccounted"], account["balanced"]) == (MESSAGES, 0, True)
    assert len(target.seen) == MESSAGES
