"""Reads route files again when they change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from chaski_cli.output import error_lines
from chaski_cli.route_files import check
from chaski_core.route.model import Route

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.3  # a change is used after one to two of these

Stamp = tuple[int, int, int] | None  # inode, size and time of change of a file; None: it does not exist


class FileChanges:
    """Recognizes that files have changed and that their writer has finished."""

    def __init__(self, stamps: Sequence[Stamp]) -> None:
        """`stamps`: of the files as they are used now."""
        self._used = self._last = tuple(stamps)

    def observe(self, stamps: Sequence[Stamp]) -> bool:
        """True once for each change, when the files are the same at two observations in a row."""
        current = tuple(stamps)
        is_settled, self._last = current == self._last, current
        if not is_settled or current == self._used:
            return False
        self._used = current
        return True


def stamps_of(files: Sequence[Path]) -> list[Stamp]:
    """The stamps of files."""
    return [_stamp(file) for file in files]


async def follow(
    files: Sequence[Path], stamps: Sequence[Stamp], apply: Callable[[Sequence[Route]], Awaitable[None]]
) -> None:
    """Applies the routes of the files after each change, until cancelled. Invalid files are logged, and change nothing.

    Args:
        files: the route files.
        stamps: of the files, taken before they were read for the first time.
        apply: uses the routes of all files.
    """
    observed = FileChanges(stamps)
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        if observed.observe(await asyncio.to_thread(stamps_of, files)):
            routes = await asyncio.to_thread(_read, files)
            if routes is not None:
                await apply(routes)


def _read(files: Sequence[Path]) -> list[Route] | None:
    checked = check(files)
    invalid = [file for file in checked if file.errors]
    for file in invalid:
        _log.error(
            "%s has changed but is invalid; the routes stay as they are:\n%s", file.path, error_lines(file.errors)
        )
    return None if invalid else [route for file in checked for route in file.routes]


def _stamp(file: Path) -> Stamp:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
