"""Reads dead letters of a data folder (also one in use), or of the table of a route on AWS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Protocol

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.route.resolved import ResolvedRoute
from chaski_replay.backends import BackendLocation, OpenBackend, folder_routes, open_folder_reader, open_location

_CHUNK = 64
Routes = Mapping[str, ResolvedRoute]  # by namespace/name


class DeadLetterSource(Protocol):
    """Reads dead letters synchronously."""

    def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        """Matching dead letters in order of time, read page by page."""
        ...

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity or label, oldest first."""
        ...


@contextlib.contextmanager
def open_source(location: BackendLocation) -> Iterator[tuple[DeadLetterSource, Routes]]:
    """Opens a location for reading, with its routes.

    Raises:
        CommandError: it does not exist, or does not have the wanted route.
        BackendError: it is unavailable.
    """
    if not location.on_aws:
        with open_folder_reader(location.data) as reader:
            routes = folder_routes(location.data)
            location.check_route(routes)
            yield reader, routes
        return
    with asyncio.Runner() as runner:
        opened = contextlib.AsyncExitStack()
        backend = runner.run(opened.enter_async_context(open_location(location)))
        try:
            yield _BackendSource(runner, backend), backend.routes
        finally:
            runner.run(opened.aclose())


class _BackendSource:
    """Reads an asynchronous store on an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, backend: OpenBackend) -> None:
        self._runner = runner
        self._backend = backend

    def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        dead_letters = self._backend.dead_letters.find(wanted, newest_first=newest_first)
        while chunk := self._runner.run(_next_chunk(dead_letters)):
            yield from chunk

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        async def get() -> Sequence[DeadLetter]:
            return await self._backend.dead_letters.get(message_id)

        return self._runner.run(get())


async def _next_chunk(dead_letters: AsyncIterator[DeadLetter]) -> list[DeadLetter]:
    chunk: list[DeadLetter] = []
    async for dead_letter in dead_letters:
        chunk.append(dead_letter)
        if len(chunk) >= _CHUNK:
            break
    return chunk
