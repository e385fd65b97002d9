"""Creates the queues of a route in a data folder and applies its changes.

Each call is one transaction of the writer, so a crash leaves either all of its changes or none.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from chaski_core import json_codec
from chaski_core.errors import RouteConflictError
from chaski_core.ports import MAX_QUEUED_BYTES, RETENTION_SECONDS
from chaski_core.retry.policy import Rung
from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import (
    Generation,
    ResolvedRoute,
    RungQueue,
    map_fingerprint,
    queue_name,
    rung_queue_name,
)
from chaski_embedded.broker import catalog
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import URL_SCHEME
from chaski_embedded.broker.unit_of_work import UnitOfWork

# Below the five minutes of deduplication, so that a hop that is repeated after a crash is still deduplicated.
VISIBILITY_SECONDS = 120


async def resolve(broker: EmbeddedBroker, route: Route, *, in_use: bool = False) -> ResolvedRoute:
    """Creates missing queues of the route, and deletes empty queues that it no longer needs. Idempotent.

    Args:
        broker: of the data folder.
        route: as it is to be.
        in_use: a worker of an earlier form of the route is running, and may still send to any of its queues: none is deleted.

    Raises:
        RouteConflictError: the folder has this route with another `ordering`.
    """

    def run(work: UnitOfWork) -> ResolvedRoute:
        resolved = _resolve(work, route, str(broker.file.parent))
        return resolved if in_use else _drop_drained(work, resolved)

    return await broker.run(run)


def resolved_routes(connection: sqlite3.Connection) -> list[ResolvedRoute]:
    """Every route of a data folder as it was resolved last, read from its file.

    Raises:
        InvalidRouteError: another release stored a route that this one can't read.
    """
    routes = [load_route(orjson.loads(document)) for (document,) in connection.execute("SELECT document FROM routes")]
    return [_as_resolved(connection, route) for route in routes]


def _as_resolved(connection: sqlite3.Connection, route: Route) -> ResolvedRoute:
    rows = connection.execute("SELECT number, queues FROM generations WHERE route = ? ORDER BY number", (route.key,))
    known = connection.execute("SELECT name, delay_seconds, url FROM rungs WHERE route = ?", (route.key,)).fetchall()
    rungs = {name: RungQueue(Rung(name, delay), url) for name, delay, url in known}
    names = {rung.name for rung in route.retry.rungs}
    return ResolvedRoute(
        route,
        _as_generations(rows.fetchall()),
        tuple(each for name, each in rungs.items() if name in names),
        tuple(each for name, each in rungs.items() if name not in names),
    )


async def drop_drained(broker: EmbeddedBroker, resolved: ResolvedRoute) -> ResolvedRoute:
    """Deletes empty queues of older generations and retired rungs; returns the resolved route without them."""
    return await broker.run(lambda work: _drop_drained(work, resolved))


def _resolve(work: UnitOfWork, route: Route, folder: str) -> ResolvedRoute:
    _check_ordering(work, route, folder)
    generations = _generations(work, route)
    rungs, retired = _rungs(work, route)
    work.sql().execute(
        "INSERT INTO routes (key, document, ordering, map_fingerprint, retention_days) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET document = excluded.document, map_fingerprint = excluded.map_fingerprint, "
        "retention_days = excluded.retention_days",
        (
            route.key,
            json_codec.dumps(route.document).decode(),
            route.ordering.value,
            map_fingerprint(route),
            route.retention_days,
        ),
    )
    return ResolvedRoute(route, generations, rungs, retired)


def _check_ordering(work: UnitOfWork, route: Route, folder: str) -> None:
    row = work.sql().execute("SELECT ordering FROM routes WHERE key = ?", (route.key,)).fetchone()
    if row is not None and row[0] != route.ordering.value:
        raise RouteConflictError(
            f"{route.key}: spec.ordering is {route.ordering.value}, but {folder} has this route's messages with "
            f"{row[0]}; the ordering of a route can't be changed: set it back to {row[0]}, give the route another "
            "name, or give another data folder"
        )


def _generations(work: UnitOfWork, route: Route) -> tuple[Generation, ...]:
    known = _known_generations(work, route.key)
    row = work.sql().execute("SELECT map_fingerprint FROM routes WHERE key = ?", (route.key,)).fetchone()
    if known and row is not None and row[0] == map_fingerprint(route):
        _ensure(work, known[-1])
        return known
    number = known[-1].number + 1 if known else 1
    queues = {
        queue.name: tuple(
            URL_SCHEME + queue_name(route, queue.name, number, index) for index in range(queue.partitions)
        )
        for queue in route.queues
    }
    added = Generation(number, queues)
    _ensure(work, added)
    work.sql().execute(
        "INSERT INTO generations (route, number, queues) VALUES (?, ?, ?)",
        (route.key, number, orjson.dumps(queues).decode()),
    )
    return (*known, added)


def _known_generations(work: UnitOfWork, key: str) -> tuple[Generation, ...]:
    rows = work.read("SELECT number, queues FROM generations WHERE route = ? ORDER BY number", (key,))
    return _as_generations(rows)


def _as_generations(rows: Sequence[tuple[int, str]]) -> tuple[Generation, ...]:
    return tuple(
        Generation(number, {name: tuple(urls) for name, urls in orjson.loads(queues).items()})
        for number, queues in rows
    )


def _rungs(work: UnitOfWork, route: Route) -> tuple[tuple[RungQueue, ...], tuple[RungQueue, ...]]:
    wanted = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    rungs = tuple(RungQueue(rung, URL_SCHEME + rung_queue_name(route, rung.name)) for rung in wanted)
    for each in rungs:
        _ensure_queue(work, each.url, each.rung.queue_delay_seconds)
        work.sql().execute(
            "INSERT OR REPLACE INTO rungs (route, name, delay_seconds, url) VALUES (?, ?, ?, ?)",
            (route.key, each.rung.name, each.rung.delay_seconds, each.url),
        )
    known = work.read("SELECT name, delay_seconds, url FROM rungs WHERE route = ? ORDER BY name", (route.key,))
    names = {rung.name for rung in wanted}
    return rungs, tuple(RungQueue(Rung(name, delay), url) for name, delay, url in known if name not in names)


def _ensure(work: UnitOfWork, generation: Generation) -> None:
    for urls in generation.queues.values():
        for url in urls:
            _ensure_queue(work, url, 0)


def _ensure_queue(work: UnitOfWork, url: str, delay_seconds: int) -> None:
    name, wanted = url.removeprefix(URL_SCHEME), _attributes(delay_seconds)
    queue = work.queues.get(name)
    if queue is None:
        catalog.insert(work, name, wanted, {"chaski": "route"}, keeps_messages=True)
    elif any(queue.settings.get(key) != value for key, value in wanted.items()):
        catalog.set_attributes(work, name, wanted)


def _attributes(delay_seconds: int) -> Mapping[str, str]:
    return {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "MaximumMessageSize": str(MAX_QUEUED_BYTES),
        "DelaySeconds": str(delay_seconds),
    }


def _drop_drained(work: UnitOfWork, resolved: ResolvedRoute) -> ResolvedRoute:
    key, current = resolved.route.key, resolved.current
    kept = []
    for generation in resolved.generations[:-1]:
        urls = [url for urls in generation.queues.values() for url in urls]
        if any(_has_messages(work, url) for url in urls):
            kept.append(generation)
            continue
        for url in urls:
            _delete_queue(work, url)
        work.sql().execute("DELETE FROM generations WHERE route = ? AND number = ?", (key, generation.number))
    retired = []
    for each in resolved.retired_rungs:
        if _has_messages(work, each.url):
            retired.append(each)
            continue
        _delete_queue(work, each.url)
        work.sql().execute("DELETE FROM rungs WHERE route = ? AND name = ?", (key, each.rung.name))
    return replace(resolved, generations=(*kept, current), retired_rungs=tuple(retired))


def _has_messages(work: UnitOfWork, url: str) -> bool:
    queue = work.queues.get(url.removeprefix(URL_SCHEME))
    return queue is not None and queue.fifo.counts(work.now).total > 0


def _delete_queue(work: UnitOfWork, url: str) -> None:
    name = url.removeprefix(URL_SCHEME)
    if name in work.queues:
        catalog.delete(work, name)
