"""Reads dead letters of a data folder (also one in use), or of the table of a resolved route on AWS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_replay.backends import BackendLocation, OpenBackend, open_folder_reader, open_location

_CHUNK = 64


class DeadLetterSource(Protocol):
    """Reads dead letters synchronously."""

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        """Matching dead letters, oldest first, read page by page."""
        ...

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity or label, oldest first."""
        ...


@contextlib.contextmanager
def open_source(location: BackendLocation) -> Iterator[DeadLetterSource]:
    """Opens a location for reading.

    Raises:
        CommandError: it does not exist.
        BackendError: it is unavailable.
    """
    if location.route is None:
        with open_folder_reader(location.data) as reader:
            yield reader
        return
    with asyncio.Runner() as runner:
        opened = contextlib.AsyncExitStack()
        backend = runner.run(opened.enter_async_context(open_location(location)))
        try:
            yield _BackendSource(runner, backend)
        finally:
            runner.run(opened.aclose())


class _BackendSource:
    """Reads an asynchronous store on an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, backend: OpenBackend) -> None:
        self._runner = runner
        self._backend = backend

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        dead_letters = self._backend.dead_letters.find(wanted)
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
