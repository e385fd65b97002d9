"""Resolved routes read from files, and read again when they change."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaski_core.errors import FieldError, InvalidInputError, InvalidRouteError
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved

_log = logging.getLogger(__name__)
_REFRESH_SECONDS = 5.0  # a kubelet updates a mount about once a minute
_ENDINGS = (".yaml", ".yml", ".json")

Texts = dict[Path, str]


class RouteFiles:
    """Implements `RouteDirectory` over a file, or over the files of a folder (as a ConfigMap is mounted)."""

    def __init__(self, place: Path) -> None:
        """Reads the routes.

        Raises:
            InvalidRouteError: a file can't be used, or two say the same route.
            OSError: a file can't be read.
        """
        self._place = place
        self._texts = _read(place)
        self._routes = _routes(self._texts)

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        """The route of that name, if there is one."""
        return self._routes.get((namespace, name))

    def __iter__(self) -> Iterator[ResolvedRoute]:
        return iter(self._routes.values())

    def trouble(self) -> str | None:
        """Nothing: the files were read."""
        return None

    async def follow(self) -> None:
        """Reads again now and then, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> bool:
        """Reads again what has changed; True if the routes are others now. What can't be used leaves them as they are."""
        try:
            texts = _read(self._place)
            if texts == self._texts:
                return False
            routes = _routes(texts)
        except (InvalidInputError, OSError) as error:
            _log.error("%s can't be used, going on with the routes as they were: %s", self._place, error)
            return False
        self._texts, self._routes = texts, routes
        _log.info("routes read again from %s: %s", self._place, _names(list(self)))
        return True


def _read(place: Path) -> Texts:
    if not place.is_dir():
        return {place: place.read_text()}
    # A mounted ConfigMap has its files behind links, and folders of its own whose names begin with two dots.
    files = sorted(file for file in place.iterdir() if file.suffix in _ENDINGS and file.is_file())
    return {file: file.read_text() for file in files}


def _routes(texts: Texts) -> dict[tuple[str, str], ResolvedRoute]:
    found: dict[tuple[str, str], ResolvedRoute] = {}
    faults: list[FieldError] = []
    for file, text in texts.items():
        try:
            routes = load_resolved(text)
        except InvalidRouteError as error:
            faults += [FieldError(f"{file.name}: {fault.field}", fault.message) for fault in error.faults]
            continue
        for resolved in routes:
            key = (resolved.route.namespace, resolved.route.name)
            if key in found:
                faults.append(FieldError(f"{file.name}: metadata.name", f"{resolved.route.key} is there already"))
            found[key] = resolved
    if faults:
        raise InvalidRouteError(faults)
    return found


def _names(routes: Sequence[ResolvedRoute]) -> str:
    return ", ".join(resolved.route.key for resolved in routes) or "none"
