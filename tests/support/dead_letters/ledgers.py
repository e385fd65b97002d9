"""Runs `chaski ledger` on a route of emulators."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from support.processes.dev import CHASKI
from support.processes.services import Cloud, Service

_TIMEOUT_SECONDS = 60.0


async def ledger_by_ids(cloud: Cloud, accepted: Iterable[str], *logs: Path) -> dict[str, Any]:
    """The account of accepted ids by logs."""
    file = cloud.file.with_name("accepted.txt")
    await asyncio.to_thread(write_ids, file, accepted)
    flags = (word for log in logs for word in ("--logs", log))
    account: dict[str, Any] = await _run(cloud, "--accepted", file, *flags)
    return account


async def ledger_by_metrics(cloud: Cloud, services: Iterable[Service]) -> dict[str, Any]:
    """The account of the route by the metrics of processes."""
    pages = [str(service.ready["chaski.metrics.url"]) for service in services]
    (account,) = await _run(cloud, *(word for page in pages for word in ("--metrics", page)))
    found: dict[str, Any] = account
    return found


def write_ids(file: Path, ids: Iterable[str]) -> None:
    """Writes one id per line."""
    file.write_text("".join(f"{each}\n" for each in ids))


async def _run(cloud: Cloud, *flags: str | Path) -> Any:
    command = (CHASKI, "ledger", "--resolved", cloud.file, *flags, "--output", "json")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, env=os.environ | cloud.environment
    )
    out, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_SECONDS)
    result = orjson.loads(out)
    unaccounted = [each["unaccounted"] for each in (result if isinstance(result, list) else [result])]
    assert process.returncode == any(unaccounted)
    return result
