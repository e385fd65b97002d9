"""`chaski demo`. Takes about 70 seconds."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import orjson
import pytest

from acceptance.cli_process import CHASKI, chaski, eventually


@pytest.mark.promise(4)
@pytest.mark.timeout(150)
async def test_the_experiment_is_exact() -> None:
    """Every figure and every metric is as expected, in less than two minutes."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(CHASKI, "demo", "--json", stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, out.decode() + err.decode()
    result = orjson.loads(out)
    assert {endpoint: tuple(row.values()) for endpoint, row in result["endpoints"].items()} == {
        "200": (50, 0, 50, 0),
        "400": (50, 200, 250, 50),
        "500": (50, 250, 300, 50),
        "timeout": (50, 150, 200, 50),
    }
    assert result["sum"] == {"messages": 200, "retries": 600, "requests": 800, "deadLetters": 150}
    assert result["metrics"]["acceptedBySubject"] == {"test_subject": 200}
    assert result["metrics"]["failedRetriesByTarget"] == {"400": 200, "500": 250, "timeout": 150}
    assert result["exact"] is True
    assert time.monotonic() - started < 120


async def test_it_requires_an_empty_folder(tmp_path: Path) -> None:
    """Dead letters of an earlier run would be counted."""
    (tmp_path / "something").touch()
    ended = await chaski("demo", "--data", tmp_path)
    assert ended.code == 2
    assert "not an empty folder" in ended.err


def dev_of(demo: int) -> int:
    """Process id of the `chaski dev` that a demo runs."""
    children = Path(f"/proc/{demo}/task/{demo}/children").read_text().split()
    (served,) = [pid for pid in children if b"\0dev\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(served)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process by /proc")
async def test_a_process_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    """Killing `chaski dev` ends the demo with exit code 1, without a traceback."""
    demo = await asyncio.create_subprocess_exec(
        CHASKI, "demo", "--data", tmp_path / "demo", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )

    async def sending() -> bool | None:
        log = tmp_path / "demo" / "dev.log"
        return True if log.exists() and b"delivered" in log.read_bytes() else None

    await eventually(sending, 30.0)
    os.kill(dev_of(demo.pid), signal.SIGKILL)
    _, err = await asyncio.wait_for(demo.communicate(), 30.0)
    assert demo.returncode == 1
    assert "ended early with exit code -9" in err.decode()
    assert "delivered" in err.decode()
    assert "Traceback" not in err.decode()
