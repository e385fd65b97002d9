"""The routes of a running `chaski dev`, which change with their files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaski_cli.dev.workers import Workers
from chaski_core.errors import ChaskiError
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.provision import drop_drained, resolve

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two sets of routes."""

    added: tuple[Route, ...]
    changed: tuple[tuple[Route, tuple[str, ...]], ...]  # with the changed parts: fields of `spec`, or `metadata`
    removed: tuple[str, ...]  # namespace/name


def changes(current: Mapping[str, Route], wanted: Sequence[Route]) -> Changes:
    """What has to be done to get from the current routes, by namespace/name, to the wanted ones."""
    keys = {route.key for route in wanted}
    parts = [(route, _changed_parts(current[route.key], route)) for route in wanted if route.key in current]
    return Changes(
        added=tuple(route for route in wanted if route.key not in current),
        changed=tuple((route, names) for route, names in parts if names),
        removed=tuple(key for key in current if key not in keys),
    )


def _changed_parts(old: Route, new: Route) -> tuple[str, ...]:
    before, after = old.document, new.document
    fields = sorted({*before["spec"], *after["spec"]})
    names = tuple(name for name in fields if before["spec"].get(name) != after["spec"].get(name))
    return names or (("metadata",) if before != after else ())


class LiveRoutes:
    """The resolved routes; ingest finds them here, and `resolved` is a live view for others."""

    def __init__(self, broker: EmbeddedBroker, workers: Workers) -> None:
        self._broker = broker
        self._workers = workers
        self.resolved: dict[str, ResolvedRoute] = {}  # by namespace/name

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        return self.resolved.get(f"{namespace}/{name}")

    async def open(self, route: Route) -> None:
        """Adds a route, before anything runs.

        Raises:
            RouteConflictError: the folder has it with another `ordering`.
            InvalidInputError: a Secret that it names can't be used.
        """
        self._use(await drop_drained(self._broker, await resolve(self._broker, route)))

    async def apply(self, wanted: Sequence[Route]) -> None:
        """Changes the running routes to the wanted ones, and logs what changed. A route that can't be used is logged and stays as it is."""
        found = changes({key: each.route for key, each in self.resolved.items()}, wanted)
        for key in found.removed:
            self._workers.remove(key)
            del self.resolved[key]
            _log.info("route %s: removed; its messages stay in the data folder", key)
        for route in found.added:
            await self._replace(route, "added")
        for route, names in found.changed:
            await self._replace(route, f"changed ({', '.join(names)})")

    async def _replace(self, route: Route, what: str) -> None:
        try:
            # The old worker may still move a message to a rung that the new form of the route lacks.
            self._use(await resolve(self._broker, route, in_use=True))
        except ChaskiError as error:
            _log.error("route %s: its new form can't be used, and it stays as it was: %s", route.key, error)
        else:
            _log.info("route %s: %s", route.key, what)

    def _use(self, resolved: ResolvedRoute) -> None:
        self._workers.use(resolved)
        self.resolved[resolved.route.key] = resolved
