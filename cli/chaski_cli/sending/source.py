"""Where the lines come from: a file, whose end is known, or a pipe, in which the next line may be hours away."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from chaski_cli.errors import wrong_input
from chaski_cli.sending.lines import BYTE_ORDER_MARK, Chunker, Line, Rejected, chunks, prepare, readable
from chaski_cli.sending.resuming import Selection

LINGER_SECONDS = 0.2  # how long a line of a pipe waits for others to go with it
_READ_BYTES = 65_536

Numbered = Iterable[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file or pipe."""

    name: str
    stream: IO[bytes]
    size: int | None  # bytes; None for a pipe, a terminal or a device

    @property
    def is_live(self) -> bool:
        """Whether more may come later, so that it can't be checked beforehand."""
        return self.size is None


@contextlib.contextmanager
def opened(source: str) -> Iterator[Source]:
    """Opens a file, or standard input for `-`.

    Raises:
        CommandError: it can't be opened.
    """
    if source == "-":
        yield _source("standard input", sys.stdin.buffer)
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115 - closed below; an error of opening is one of the caller's
    except OSError as error:
        raise wrong_input(f"{source}: {error.strerror}", "name a file of one JSON message a line, or -") from error
    with stream:
        yield _source(source, stream)


def _source(name: str, stream: IO[bytes]) -> Source:
    status = os.fstat(stream.fileno())
    return Source(name, stream, status.st_size if stat.S_ISREG(status.st_mode) else None)


@dataclass(slots=True)
class Intake:
    """Turns lines as they were read into lines that can be sent; what can't is kept in `rejected`."""

    selection: Selection
    skip_unreadable: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    blocked_at: Rejected | None = None  # an unreadable line, which may be of any subject: nothing behind it is sent

    def lines(self, numbered: Numbered) -> Iterator[Line]:
        """The lines to send, in order."""
        for number, data in numbered:
            bare = data.strip().removeprefix(BYTE_ORDER_MARK)
            if not bare or not self.selection.keeps(number):
                continue
            line = readable(prepare(number, bare, lambda number=number: f"{self.selection.run}-{number}"))  # type: ignore[misc]  # mypy knows no default of a lambda
            if self.blocked_at is not None:
                why = f"not sent: line {self.blocked_at.number} can't be read"
                self.rejected.append(Rejected(number, 503, why, line.data))
            elif isinstance(line, Rejected):
                self.rejected.append(line)
                self.blocked_at = None if self.skip_unreadable else line
            else:
                yield line


def unreadable(source: Source, selection: Selection) -> list[Rejected]:
    """The lines of a file that can't be read; the file is then at its beginning again."""
    intake = Intake(selection, skip_unreadable=True)
    start = source.stream.tell()
    for _ in intake.lines(enumerate(source.stream, 1)):
        pass
    source.stream.seek(start)
    return intake.rejected


@dataclass(slots=True)
class Feed:
    """The lines of a source, cut into requests."""

    source: Source
    intake: Intake
    stop: asyncio.Event
    keep_rest: bool = False  # whether a pipe is read to its end when nothing can be sent any more
    interrupted: bool = False  # `stop` ended it before its end

    async def requests(self) -> AsyncGenerator[list[Line], None]:
        """The lines of one request after the other; ends early when `stop` is set.

        What was read from a pipe is sent all the same then, since it can't be read again.
        """
        if self.source.is_live:
            async for request in self._live():
                yield request
            return
        for request in chunks(self.intake.lines(enumerate(self.source.stream, 1))):
            if self.stop.is_set():
                self.interrupted = True
                return
            yield request

    async def _live(self) -> AsyncGenerator[list[Line], None]:
        pipe, chunker, loop = _Pipe(self.source.stream.fileno()), Chunker(), asyncio.get_running_loop()
        due: float | None = None  # when what was gathered has to go
        while not (pipe.ended or self.stop.is_set() or (self.intake.blocked_at and not self.keep_rest)):
            numbered = await pipe.read(self.stop, None if due is None else due - loop.time())
            for line in self.intake.lines(numbered):
                for full in chunker.add(line):
                    yield full
                    due = None
            if chunker.gathered and due is None:
                due = loop.time() + LINGER_SECONDS
            elif due is not None and loop.time() >= due:
                yield chunker.take()
                due = None
        if chunker.gathered:
            yield chunker.take()
        self.interrupted = self.stop.is_set() and not pipe.ended


class _Pipe:
    """Whole lines from a file descriptor that may have nothing to give for long."""

    def __init__(self, descriptor: int) -> None:
        self.ended = False
        self._descriptor = descriptor
        self._number = 0
        self._begun = b""  # a line whose end has not come yet

    async def read(self, stop: asyncio.Event, seconds: float | None) -> Numbered:
        """The lines that came next, with their numbers; none where `stop` was set or the time was up before."""
        if not await self._readable(stop, seconds):
            return ()
        data = os.read(self._descriptor, _READ_BYTES)
        self.ended = not data
        *lines, begun = (self._begun + data).split(b"\n")
        self._begun = begun
        if self.ended and begun:
            lines.append(begun)
        first, self._number = self._number + 1, self._number + len(lines)
        return enumerate(lines, first)

    async def _readable(self, stop: asyncio.Event, seconds: float | None) -> bool:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(self._descriptor, woken.set)
        except PermissionError:  # a device that never waits, such as /dev/null
            return True
        waiting = [asyncio.ensure_future(event.wait()) for event in (woken, stop)]
        try:
            timeout = None if seconds is None else max(0.0, seconds)
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._descriptor)
            for each in waiting:
                each.cancel()
        return woken.is_set()
