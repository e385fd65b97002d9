"""Runs `chaski ledger`: accepted = delivered + dead-lettered + pending, and what is missing on the right side."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.text import Text

from chaski_aws.backend import open_backend
from chaski_cli.backends import BackendLocation, open_folder_reader, read_resolved_file
from chaski_cli.errors import CommandError, Exit
from chaski_cli.output import emit_json, printable, stderr, stdout, table
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock

COLUMNS = ("of", "accepted", "delivered", "dead-lettered", "pending", "unaccounted")
_TIMEOUT = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, slots=True)
class Account:
    """The two sides of one route, by the metrics of its processes."""

    route: str
    accepted: int
    delivered: int
    dead_lettered: int
    pending: int

    @property
    def unaccounted(self) -> int:
        """What is missing on the right side."""
        return self.accepted - self.delivered - self.dead_lettered - self.pending

    @property
    def row(self) -> tuple[object, ...]:
        """Under `COLUMNS`."""
        return self.route, self.accepted, self.delivered, self.dead_lettered, self.pending, self.unaccounted

    def as_json(self) -> dict[str, Any]:
        """`{route, accepted, delivered, deadLettered, pending, unaccounted}`."""
        names = ("route", "accepted", "delivered", "deadLettered", "pending", "unaccounted")
        return dict(zip(names, self.row, strict=True))


def run_folder(where: BackendLocation, *, as_json: bool) -> Exit:
    """The accounts of a data folder: exact, over any crash."""
    with open_folder_reader(where.data) as reader:
        found = reader.ledger()
    if as_json:
        emit_json(found.as_json())
    else:
        values = (found.accepted, found.delivered, found.dead_lettered, found.pending, found.unaccounted)
        stdout().print(table(COLUMNS, [(where.name, *values)], right=COLUMNS[1:]))
        if found.dropped:
            told = f"{found.dropped} records are gone (retention, discard), which may account for so many messages"
            stderr().print(Text(told, style="yellow"), soft_wrap=True)
        if found.unaccounted < 0:
            told = "more is there than ingest accepted: others than ingest put messages on these queues"
            stderr().print(Text(told, style="yellow"), soft_wrap=True)
    return Exit.OK if found.balanced else Exit.FAILED


def run_metrics(pages: Sequence[str], where: BackendLocation, *, as_json: bool) -> Exit:
    """The accounts by the metrics of all ingests and workers; pending from the queues of `where.route`, if it is given."""
    texts = asyncio.run(_fetch(pages))
    pending = {} if where.route is None else asyncio.run(_pending(where.route))
    found = accounts(texts, pending)
    if as_json:
        emit_json([account.as_json() for account in found])
    else:
        stdout().print(table(COLUMNS, [each.row for each in found], right=COLUMNS[1:]))
        told = "a process that ended took its counts with it; what is on its way is counted on neither side or on both"
        stderr().print(Text(told, style="dim"), soft_wrap=True)
    return Exit.FAILED if any(account.unaccounted for account in found) else Exit.OK


def accounts(pages: Iterable[str], pending: dict[str, int]) -> list[Account]:
    """The accounts of every route that the pages name.

    Args:
        pages: in Prometheus' text format, of every ingest and worker.
        pending: messages by route, where they were counted on the queues; else the pages' gauges count.
    """
    accepted: Counter[str] = Counter()
    settled: Counter[tuple[str, str]] = Counter()
    shown: dict[tuple[str, str, str], int] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels, value = sample.labels, int(sample.value)
                route = f"{labels.get('namespace', '')}/{labels.get('route', '')}"
                if sample.name == "chaski_messages_accepted_total":
                    accepted[route] += value
                elif sample.name == "chaski_messages_settled_total" and labels.get("origin") == "ingest":
                    settled[route, labels.get("end", "")] += value
                elif sample.name == "chaski_queue_messages":  # every worker shows the same queues
                    key = (route, labels.get("queue", ""), labels.get("state", ""))
                    shown[key] = max(value, shown.get(key, 0))
    waiting = Counter[str]()
    for (route, _, _), value in shown.items():
        waiting[route] += value
    routes = sorted({*accepted, *(route for route, _ in settled)})
    return [
        Account(
            route,
            accepted[route],
            settled[route, "delivered"],
            sum(value for (of, end), value in settled.items() if of == route and end != "delivered"),
            pending.get(route, waiting[route]),
        )
        for route in routes
    ]


async def _fetch(pages: Sequence[str]) -> list[str]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:

        async def one(url: str) -> str:
            try:
                async with http.get(url) as answer:
                    answer.raise_for_status()
                    return await answer.text()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise CommandError(
                    f"{printable(url)} can't be read: {printable(str(error))}",
                    next_step="name the /metrics of every ingest and worker of the route; one that is missing makes it wrong",
                ) from error

        return await asyncio.gather(*map(one, pages))


async def _pending(file: Path) -> dict[str, int]:
    resolved = read_resolved_file(file)
    return {resolved.route.key: await pending_on_queues(resolved)}


async def pending_on_queues(resolved: ResolvedRoute) -> int:
    """Messages on all queues of a route, held and delayed ones too; on AWS right within a minute of rest."""
    backend = await open_backend(None, CorrectedClock(SystemClock()))
    try:
        counts = await asyncio.gather(*(backend.queue(url).counts() for url in _urls(resolved)))
    finally:
        await backend.close()
    return sum(count.total for count in counts)


def _urls(resolved: ResolvedRoute) -> list[str]:
    return [*chain.from_iterable(resolved.queue_urls.values()), *(each.url for each in resolved.every_rung)]
