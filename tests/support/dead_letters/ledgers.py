"""`chaski ledger` on a route of stand-ins, as its user runs it."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from support.processes.dev import CHASKI
from support.processes.services import Cloud, Service

_PATIENCE_SECONDS = 60.0


async def ledger_by_ids(cloud: Cloud, accepted: Iterable[str], *logs: Path) -> dict[str, Any]:
    """What it says of accepted ids by logs."""
    file = cloud.file.with_name("accepted.txt")
    await asyncio.to_thread(write_ids, file, accepted)
    told: dict[str, Any] = await _told(cloud, "--accepted", file, *(word for log in logs for word in ("--logs", log)))
    return told


async def ledger_by_metrics(cloud: Cloud, services: Iterable[Service]) -> dict[str, Any]:
    """What it says by the metrics of processes; of one route."""
    pages = [str(service.ready["chaski.metrics.url"]) for service in services]
    (told,) = await _told(cloud, *(word for page in pages for word in ("--metrics", page)))
    account: dict[str, Any] = told
    return account


def write_ids(file: Path, ids: Iterable[str]) -> None:
    """One a line."""
    file.write_text("".join(f"{each}\n" for each in ids))


async def _told(cloud: Cloud, *flags: str | Path) -> Any:
    command = (CHASKI, "ledger", "--route", cloud.file, *flags, "--output", "json")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, env=os.environ | cloud.environment
    )
    out, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
    told = orjson.loads(out)
    unaccounted = [each["unaccounted"] for each in (told if isinstance(told, list) else [told])]
    assert process.returncode == any(unaccounted)
    return told
