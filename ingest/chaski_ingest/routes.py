"""Resolved routes from files, reloaded when they change."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved
from chaski_runtime.process.file_reloader import Reloaded

_log = logging.getLogger(__name__)
_REFRESH_SECONDS = 5.0  # a kubelet updates a mount about once a minute
_SUFFIXES = (".yaml", ".yml", ".json")

Files = dict[Path, bytes]


class RouteFiles:
    """Implements `RouteDirectory` with a file, or with the files of a folder (such as a mounted ConfigMap)."""

    def __init__(self, path: Path) -> None:
        """Reads the routes.

        Raises:
            InvalidRouteError: a file is invalid, or two files define the same route.
            OSError: a file can't be read.
        """
        self._path = path
        self._reloaded = Reloaded(f"the routes in {path}", lambda: _read(path), _routes)

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        """The route of that name, if it exists."""
        return self._reloaded.current.get((namespace, name))

    def __iter__(self) -> Iterator[ResolvedRoute]:
        return iter(self._reloaded.current.values())

    def unready_reason(self) -> str | None:
        """Always None: the files were read at the start."""
        return None

    def unreachable_seconds(self) -> float | None:
        """Always None: no API server is used."""
        return None

    async def follow(self) -> None:
        """Reloads changed files every five seconds until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> bool:
        """Reloads changed files; True if there were any. If one is invalid or can't be read, all routes are kept."""
        if not self._reloaded.refresh():
            return False
        _log.info("routes reloaded from %s: %s", self._path, _names(list(self)))
        return True


def _read(path: Path) -> Files:
    if not path.is_dir():
        return {path: path.read_bytes()}
    # In a mounted ConfigMap the files are symbolic links, beside internal folders whose names begin with two dots.
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    return {file: file.read_bytes() for file in files}


def _routes(files: Files) -> dict[tuple[str, str], ResolvedRoute]:
    found: dict[tuple[str, str], ResolvedRoute] = {}
    errors: list[FieldError] = []
    for file, content in files.items():
        try:
            routes = load_resolved(content.decode())
        except UnicodeDecodeError:
            errors.append(FieldError(file.name, "is not UTF-8 text"))
            continue
        except InvalidRouteError as error:
            errors += [FieldError(f"{file.name}: {each.field}", each.message) for each in error.errors]
            continue
        for resolved in routes:
            key = (resolved.route.namespace, resolved.route.name)
            if key in found:
                errors.append(
                    FieldError(f"{file.name}: metadata.name", f"{resolved.route.key} is defined more than once")
                )
            found[key] = resolved
    if errors:
        raise InvalidRouteError(errors)
    return found


def _names(routes: Sequence[ResolvedRoute]) -> str:
    return ", ".join(resolved.route.key for resolved in routes) or "none"
