"""The allow rules that a route file suspends, read again while a worker runs.

On a cluster the file is a part of a mounted ConfigMap, which the kubelet updates within about a minute. Only `suspend` is taken from
the new contents: every other change of a route needs a new process, which the operator starts.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from chaski_core.errors import InvalidInputError
from chaski_core.route.resolved_document import load_resolved
from chaski_runtime.process.file_reloader import Reloaded

EVERY_SECONDS = 5.0


class _SuspendFlags:
    """The suspended rules of a file, which is parsed when its contents have changed. The first reading is given."""

    def __init__(self, file: Path, first: frozenset[str]) -> None:
        self._file = file
        self._names = first
        self._contents: bytes | None = None
        self._is_first = True

    def read(self) -> frozenset[str]:
        """The current value. Raises OSError where the file can't be read, ValueError where it is not a resolved route."""
        if self._is_first:
            self._is_first = False
            return self._names
        contents = self._file.read_bytes()
        if contents != self._contents:
            try:
                routes = load_resolved(contents.decode())
            except InvalidInputError as error:
                raise ValueError(str(error)) from error
            self._names = frozenset().union(*(each.route.suspended_targets for each in routes))
            self._contents = contents
        return self._names


async def follow_suspension(
    file: Path,
    first: frozenset[str],
    apply: Callable[[frozenset[str]], None],
    *,
    every_seconds: float = EVERY_SECONDS,
) -> None:
    """Applies the suspended rules of a route file whenever they change, until cancelled.

    Args:
        file: the resolved route. Something other than a regular file, such as a pipe, can be read once only, and is not followed.
        first: names of the rules that it suspended when the worker read it.
        apply: is called with the names.
        every_seconds: between two readings.
    """
    if not await asyncio.to_thread(file.is_file):
        return
    flags = _SuspendFlags(file, first)
    watched = Reloaded(f"targets.allow[].suspend in {file}", flags.read, lambda names: names)
    while True:
        await asyncio.sleep(every_seconds)
        # In a thread: a large route takes a while to be parsed.
        if await asyncio.to_thread(watched.refresh):
            apply(watched.current)
