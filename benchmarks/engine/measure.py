"""The measurements of the delivery engine and of ingest, in one order, alternating with what they are compared with."""

import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.engine import ingest
from benchmarks.engine.consumers import consume
from benchmarks.engine.processes import Standin, off_the_measured_core, standin
from benchmarks.engine.results import (
    CALM,
    FLOOR,
    HOT,
    NAIVE,
    OURS,
    SATURATED,
    SLOW,
    TITLES,
    Consumed,
    Engine,
    Ingested,
    Load,
)
from benchmarks.plan import SUBJECTS, EnginePlan

Show = Callable[[str, Awaitable[Any]], Awaitable[Any]]  # waits for one measurement, and prints its result
_SLOW_SUBJECTS, _SLOW_MS = 200, 50
_HOT_SUBJECTS, _HOT_MS, _HOT_PERCENT = 100, 5, 82


def loads(plan: EnginePlan) -> list[Load]:
    """The loads of consumers."""
    return [
        Load(SATURATED, "a backlog, targets answer at once", plan.saturated, SUBJECTS),
        Load(SLOW, f"a backlog, targets take {_SLOW_MS} ms", plan.slow, _SLOW_SUBJECTS, _SLOW_MS),
        Load(CALM, f"{plan.calm_rate:g} messages/s", plan.calm, SUBJECTS, rate=plan.calm_rate),
        Load(
            HOT,
            f"a backlog, {_HOT_PERCENT} % of one subject, targets take {_HOT_MS} ms",
            plan.hot,
            _HOT_SUBJECTS,
            _HOT_MS,
            hot_percent=_HOT_PERCENT,
        ),
    ]


async def engine(plan: EnginePlan, show: Show) -> Engine:
    """All measurements of worker and ingest."""
    with off_the_measured_core(), tempfile.TemporaryDirectory() as name:
        async with standin() as server:
            folder = Path(name)
            consumed = await _consumers(plan, server, folder, show)
            ingested = await _ingests(plan, server, folder, show)
            ours = max(each.per_second for each in ingested if each.kind == OURS)
            half = await show(
                "ingest at half of that", ingest.our_ingest(plan.half_ingest, server, folder, round(ours / 2))
            )
    return Engine(loads(plan), consumed, ingested, half, ingest.SEND_SECONDS * 1000)


async def _consumers(plan: EnginePlan, server: Standin, folder: Path, show: Show) -> list[Consumed]:
    consumed: list[Consumed] = []
    for load in loads(plan):
        for _ in range(plan.repetitions):
            for kind in (FLOOR, OURS):
                work = consume(kind, load, server, folder)
                consumed.append(await show(f"{load.title}: {TITLES[kind]}", work))
        few = dataclasses.replace(load, messages=plan.naive[load.key])
        consumed.append(await show(f"{load.title}: {TITLES[NAIVE]}", consume(NAIVE, few, server, folder)))
    return consumed


async def _ingests(plan: EnginePlan, server: Standin, folder: Path, show: Show) -> list[Ingested]:
    ingested: list[Ingested] = []
    for _ in range(plan.repetitions):
        ingested.append(await show("a bare handler", ingest.bare_handler(plan.ingest, server, folder)))
        ingested.append(await show("ingest", ingest.our_ingest(plan.ingest, server, folder)))
    return ingested
