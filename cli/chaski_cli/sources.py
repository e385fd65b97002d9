"""Where dead letters are read: a data folder (also one that is in use), or the table of a resolved route on AWS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

from chaski_cli.backends import BackendLocation, OpenBackend, open_folder_reader, open_location
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter

_CHUNK = 64


class Source(Protocol):
    """Reads dead letters."""

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page."""
        ...

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of a message id, oldest first."""
        ...


@contextlib.contextmanager
def open_source(where: BackendLocation) -> Iterator[Source]:
    """Opens what the command line names, to read only.

    Raises:
        CommandError: there is no such thing.
        BackendError: it can't be read now.
    """
    if where.route is None:
        with open_folder_reader(where.data) as reader:
            yield reader
        return
    with asyncio.Runner() as runner:
        opening = open_location(where)
        opened = runner.run(opening.__aenter__())
        try:
            yield _OnLoop(runner, opened)
        finally:
            runner.run(_close(opening))


async def _close(opening: contextlib.AbstractAsyncContextManager[OpenBackend]) -> None:
    await opening.__aexit__(None, None, None)


class _OnLoop:
    """An asynchronous store for whoever reads it step by step."""

    def __init__(self, runner: asyncio.Runner, opened: OpenBackend) -> None:
        self._runner = runner
        self._opened = opened

    def find(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        letters = self._opened.dead_letters.find(wanted)
        while chunk := self._runner.run(_next(letters)):
            yield from chunk

    def get(self, message_id: str) -> Sequence[DeadLetter]:
        async def get() -> Sequence[DeadLetter]:
            return await self._opened.dead_letters.get(message_id)

        return self._runner.run(get())


async def _next(letters: AsyncIterator[DeadLetter]) -> list[DeadLetter]:
    chunk: list[DeadLetter] = []
    async for letter in letters:
        chunk.append(letter)
        if len(chunk) >= _CHUNK:
            break
    return chunk
