"""The experiment of the design, from start to finish. About 70 seconds."""

import asyncio
import time
from asyncio.subprocess import DEVNULL, PIPE

import orjson
import pytest

from acceptance.cli_process import CHASKI


@pytest.mark.promise(4)
@pytest.mark.timeout(150)
async def test_the_experiment_comes_out_exactly() -> None:
    """Every cell of the table and every metric is what the design demands, in less than two minutes."""
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
