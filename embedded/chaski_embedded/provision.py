"""Makes the queues of a route in a data folder, and follows its changes.

Everything is one transaction of the engine, so that a crash leaves either all of it or nothing.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from chaski_core import json_codec
from chaski_core.errors import RouteConflictError
from chaski_core.ports import RETENTION_SECONDS
from chaski_core.retry.ladder import Rung
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
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.queue import URL_SCHEME

VISIBILITY_SECONDS = (
    120  # below the five minutes of deduplication, so that a hop repeated after a crash falls into them
)
MAX_MESSAGE_BYTES = 327_680  # a message of 262,144 bytes with its metadata


async def resolve(broker: EmbeddedBroker, route: Route) -> ResolvedRoute:
    """Makes what the route needs and is not there yet, drops what it no longer needs and is empty.

    Repeating it changes nothing.

    Raises:
        RouteConflictError: the folder holds this route under another `ordering`.
    """
    return await broker.run(lambda session: _resolve(session, route, str(broker.file.parent)))


def resolved_routes(connection: sqlite3.Connection) -> list[ResolvedRoute]:
    """Every route of a data folder as it was resolved last, read from its file.

    Raises:
        InvalidRouteError: another release wrote a route that this one can't read.
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
    """Deletes the queues of older generations and retired rungs that are empty; what is left of the resolved route."""
    return await broker.run(lambda session: _drop_drained(session, resolved))


def _resolve(session: UnitOfWork, route: Route, folder: str) -> ResolvedRoute:
    _check_ordering(session, route, folder)
    generations = _generations(session, route)
    rungs, retired = _rungs(session, route)
    session.sql().execute(
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
    return _drop_drained(session, ResolvedRoute(route, generations, rungs, retired))


def _check_ordering(session: UnitOfWork, route: Route, folder: str) -> None:
    row = session.sql().execute("SELECT ordering FROM routes WHERE key = ?", (route.key,)).fetchone()
    if row is not None and row[0] != route.ordering.value:
        raise RouteConflictError(
            f"{route.key}: spec.ordering is {route.ordering.value}, but {folder} holds this route's messages under "
            f"{row[0]}, and the ordering of a route can't be changed: set it back to {row[0]}, give the route another "
            "name, or give another data folder"
        )


def _generations(session: UnitOfWork, route: Route) -> tuple[Generation, ...]:
    known = _known_generations(session, route.key)
    row = session.sql().execute("SELECT map_fingerprint FROM routes WHERE key = ?", (route.key,)).fetchone()
    if known and row is not None and row[0] == map_fingerprint(route):
        _ensure(session, known[-1])
        return known
    number = known[-1].number + 1 if known else 1
    queues = {
        queue.name: tuple(
            URL_SCHEME + queue_name(route, queue.name, number, index) for index in range(queue.partitions)
        )
        for queue in route.queues
    }
    added = Generation(number, queues)
    _ensure(session, added)
    session.sql().execute(
        "INSERT INTO generations (route, number, queues) VALUES (?, ?, ?)",
        (route.key, number, orjson.dumps(queues).decode()),
    )
    return (*known, added)


def _known_generations(session: UnitOfWork, key: str) -> tuple[Generation, ...]:
    rows = session.read("SELECT number, queues FROM generations WHERE route = ? ORDER BY number", (key,))
    return _as_generations(rows)


def _as_generations(rows: Sequence[tuple[int, str]]) -> tuple[Generation, ...]:
    return tuple(
        Generation(number, {name: tuple(urls) for name, urls in orjson.loads(queues).items()})
        for number, queues in rows
    )


def _rungs(session: UnitOfWork, route: Route) -> tuple[tuple[RungQueue, ...], tuple[RungQueue, ...]]:
    wanted = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    rungs = tuple(RungQueue(rung, URL_SCHEME + rung_queue_name(route, rung.name)) for rung in wanted)
    for each in rungs:
        _ensure_queue(session, each.url, each.rung.delay_seconds)
        session.sql().execute(
            "INSERT OR REPLACE INTO rungs (route, name, delay_seconds, url) VALUES (?, ?, ?, ?)",
            (route.key, each.rung.name, each.rung.delay_seconds, each.url),
        )
    known = session.read("SELECT name, delay_seconds, url FROM rungs WHERE route = ? ORDER BY name", (route.key,))
    names = {rung.name for rung in wanted}
    return rungs, tuple(RungQueue(Rung(name, delay), url) for name, delay, url in known if name not in names)


def _ensure(session: UnitOfWork, generation: Generation) -> None:
    for urls in generation.queues.values():
        for url in urls:
            _ensure_queue(session, url, 0)


def _ensure_queue(session: UnitOfWork, url: str, delay_seconds: int) -> None:
    name, wanted = url.removeprefix(URL_SCHEME), _attributes(delay_seconds)
    queue = session.queues.get(name)
    if queue is None:
        catalog.make(session, name, wanted, {"chaski": "route"}, keeps=True)
    elif any(queue.settings.get(key) != value for key, value in wanted.items()):
        catalog.set_attributes(session, name, wanted)


def _attributes(delay_seconds: int) -> Mapping[str, str]:
    return {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
        "DelaySeconds": str(delay_seconds),
    }


def _drop_drained(session: UnitOfWork, resolved: ResolvedRoute) -> ResolvedRoute:
    key, current = resolved.route.key, resolved.current
    kept = []
    for generation in resolved.generations[:-1]:
        urls = [url for urls in generation.queues.values() for url in urls]
        if any(_holds_messages(session, url) for url in urls):
            kept.append(generation)
            continue
        for url in urls:
            _delete_queue(session, url)
        session.sql().execute("DELETE FROM generations WHERE route = ? AND number = ?", (key, generation.number))
    retired = []
    for each in resolved.retired_rungs:
        if _holds_messages(session, each.url):
            retired.append(each)
            continue
        _delete_queue(session, each.url)
        session.sql().execute("DELETE FROM rungs WHERE route = ? AND name = ?", (key, each.rung.name))
    return replace(resolved, generations=(*kept, current), retired_rungs=tuple(retired))


def _holds_messages(session: UnitOfWork, url: str) -> bool:
    queue = session.queues.get(url.removeprefix(URL_SCHEME))
    return queue is not None and queue.fifo.counts(session.now).total > 0


def _delete_queue(session: UnitOfWork, url: str) -> None:
    name = url.removeprefix(URL_SCHEME)
    if name in session.queues:
        catalog.delete(session, name)
