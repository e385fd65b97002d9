"""Runs `chaski ledger`: checks that accepted = delivered + dead-lettered + discarded + pending."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.text import Text

from chaski_aws.backend import open_backend
from chaski_cli.output import emit_result, printable, stderr, stdout, table
from chaski_core.route.resolved import ResolvedRoute
from chaski_replay.backends import BackendLocation, open_folder_reader
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode
from chaski_runtime.process.corrected_clock import CorrectedClock

COLUMNS = ("route", "accepted", "delivered", "dead-lettered", "discarded", "pending", "unaccounted")
_TIMEOUT = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, slots=True)
class Account:
    """Message counts of one route."""

    route: str
    accepted: int
    delivered: int
    dead_lettered: int
    discarded: int  # deleted without a dead letter, by an outcome of the route
    pending: int

    @property
    def unaccounted(self) -> int:
        """Accepted messages that are in none of the other counts."""
        return self.accepted - self.delivered - self.dead_lettered - self.discarded - self.pending

    @property
    def row(self) -> tuple[object, ...]:
        """Values for `COLUMNS`."""
        ends = (self.delivered, self.dead_lettered, self.discarded)
        return self.route, self.accepted, *ends, self.pending, self.unaccounted

    def as_json(self) -> dict[str, Any]:
        """`{route, accepted, delivered, deadLettered, discarded, pending, unaccounted}`."""
        names = ("route", "accepted", "delivered", "deadLettered", "discarded", "pending", "unaccounted")
        return dict(zip(names, self.row, strict=True))


def run_folder(location: BackendLocation, *, as_json: bool) -> ExitCode:
    """Accounts of a data folder: exact, also after crashes."""
    with open_folder_reader(location.data) as reader:
        found = reader.ledger()
    if as_json:
        emit_result(found.as_json())
    else:
        ends = (found.delivered, found.dead_lettered, found.discarded)
        account = Account(location.name, found.accepted, *ends, found.pending)
        stdout().print(table(COLUMNS, [account.row], right=COLUMNS[1:]))
        if found.dropped:
            note = f"{found.dropped} records were removed (retention, discard), so up to {found.dropped} messages may be unaccounted for"
            stderr().print(Text(note, style="yellow"), soft_wrap=True)
        if found.unaccounted < 0:
            note = "more messages than ingest accepted: other programs send to these queues"
            stderr().print(Text(note, style="yellow"), soft_wrap=True)
    return ExitCode.OK if found.balanced else ExitCode.FAILED


def run_metrics(pages: Sequence[str], location: BackendLocation, *, as_json: bool) -> ExitCode:
    """Accounts by the metrics of all ingest and worker processes; pending from the queues of the location's route on AWS."""
    texts = asyncio.run(_fetch(pages))
    pending = asyncio.run(_pending(location.read_resolved())) if location.on_aws else {}
    found = accounts(texts, pending)
    if as_json:
        emit_result([account.as_json() for account in found])
    else:
        stdout().print(table(COLUMNS, [each.row for each in found], right=COLUMNS[1:]))
        note = "counts of processes that ended are missing; messages in flight may be counted twice or not at all"
        stderr().print(Text(note, style="dim"), soft_wrap=True)
    return ExitCode.FAILED if any(account.unaccounted for account in found) else ExitCode.OK


def accounts(pages: Iterable[str], pending: dict[str, int]) -> list[Account]:
    """One account per route in the pages.

    Args:
        pages: of every ingest and worker, in Prometheus' text format.
        pending: messages on the queues by route; for other routes the gauges of the pages are used.
    """
    accepted: Counter[str] = Counter()
    settled: Counter[tuple[str, str]] = Counter()
    gauges: dict[tuple[str, str, str], int] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels, value = sample.labels, int(sample.value)
                route = f"{labels.get('namespace', '')}/{labels.get('route', '')}"
                if sample.name == "chaski_messages_accepted_total":
                    accepted[route] += value
                elif sample.name == "chaski_messages_settled_total" and labels.get("origin") == "ingest":
                    settled[route, labels.get("end", "")] += value
                elif sample.name == "chaski_queue_messages":  # every worker reports the same queues
                    key = (route, labels.get("queue", ""), labels.get("state", ""))
                    gauges[key] = max(value, gauges.get(key, 0))
    waiting = Counter[str]()
    for (route, _, _), value in gauges.items():
        waiting[route] += value
    routes = sorted({*accepted, *(route for route, _ in settled)})
    return [
        Account(
            route,
            accepted[route],
            settled[route, "delivered"],
            settled[route, "dead_lettered"],
            settled[route, "discarded"],
            pending.get(route, waiting[route]),
        )
        for route in routes
    ]


async def _fetch(pages: Sequence[str]) -> list[str]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:

        async def one(url: str) -> str:
            try:
                async with http.get(url) as response:
                    response.raise_for_status()
                    return await response.text()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise CommandError(
                    f"can't read {printable(url)}: {printable(str(error))}",
                    next_step="give the /metrics URL of every ingest and worker of the route; if one is missing, the result is wrong",
                ) from error

        return await asyncio.gather(*map(one, pages))


async def _pending(resolved: ResolvedRoute) -> dict[str, int]:
    return {resolved.route.key: await pending_on_queues(resolved)}


async def pending_on_queues(resolved: ResolvedRoute) -> int:
    """Messages on all queues of a route, in flight and delayed ones too; on AWS exact after a minute without changes."""
    backend = await open_backend(None, CorrectedClock(SystemClock()))
    try:
        counts = await asyncio.gather(*(backend.queue(url).counts() for url in _urls(resolved)))
    finally:
        await backend.close()
    return sum(count.total for count in counts)


def _urls(resolved: ResolvedRoute) -> list[str]:
    return [*chain.from_iterable(resolved.queue_urls.values()), *(each.url for each in resolved.every_rung)]
