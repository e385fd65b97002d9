"""Reads lines: of a file, whose end is known, or of a pipe, in which the next line may arrive hours later."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from chaski_cli.sending.lines import BYTE_ORDER_MARK, Chunker, Line, Rejected, Selection, chunks, prepare, readable
from chaski_runtime.process.command_error import wrong_input

LINGER_SECONDS = 0.2  # how long a line of a pipe waits for others, to share a request
_READ_BYTES = 65_536

Numbered = Iterable[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class LineInput:
    """An open file or pipe."""

    name: str
    stream: IO[bytes]
    size: int | None  # bytes; None for a pipe, a terminal or a device

    @property
    def is_live(self) -> bool:
        """Whether more lines may arrive later: such an input can't be checked before sending."""
        return self.size is None


@contextlib.contextmanager
def open_input(name: str) -> Iterator[LineInput]:
    """Opens a file, or standard input if `name` is `-`.

    Raises:
        CommandError: it can't be opened.
    """
    if name == "-":
        yield _line_input("standard input", sys.stdin.buffer)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only errors of opening are caught here
    except OSError as error:
        raise wrong_input(f"{name}: {error.strerror}", "give a file with one JSON message per line, or -") from error
    with stream:
        yield _line_input(name, stream)


def _line_input(name: str, stream: IO[bytes]) -> LineInput:
    status = os.fstat(stream.fileno())
    return LineInput(name, stream, status.st_size if stat.S_ISREG(status.st_mode) else None)


@dataclass(slots=True)
class Intake:
    """Parses lines; those that can't be sent are added to `rejected`."""

    selection: Selection
    skip_unreadable: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    blocked_at: Rejected | None = None  # an unreadable line: it may be of any subject, so nothing after it is sent

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


def find_unreadable(line_input: LineInput, selection: Selection) -> list[Rejected]:
    """The lines of a file that can't be read; rewinds the file."""
    intake = Intake(selection, skip_unreadable=True)
    start = line_input.stream.tell()
    for _ in intake.lines(enumerate(line_input.stream, 1)):
        pass
    line_input.stream.seek(start)
    return intake.rejected


@dataclass(slots=True)
class RequestFeed:
    """The lines of an input, grouped into requests."""

    line_input: LineInput
    intake: Intake
    stop: asyncio.Event
    keep_rest: bool = False  # whether a pipe is read to its end even if nothing more can be sent
    interrupted: bool = False  # `stop` was set before the end

    async def requests(self) -> AsyncGenerator[list[Line], None]:
        """The lines of each request; ends early when `stop` is set.

        Lines that were read from a pipe are still sent then, since they can't be read again.
        """
        if self.line_input.is_live:
            async for request in self._live():
                yield request
            return
        for request in chunks(self.intake.lines(enumerate(self.line_input.stream, 1))):
            if self.stop.is_set():
                self.interrupted = True
                return
            yield request

    async def _live(self) -> AsyncGenerator[list[Line], None]:
        pipe, chunker, loop = _Pipe(self.line_input.stream.fileno()), Chunker(), asyncio.get_running_loop()
        due: float | None = None  # when the gathered lines must be sent
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
    """Whole lines from a file descriptor that may block for long."""

    def __init__(self, descriptor: int) -> None:
        self.ended = False
        self._descriptor = descriptor
        self._number = 0
        self._partial = b""  # a line without its end

    async def read(self, stop: asyncio.Event, seconds: float | None) -> Numbered:
        """The next lines with their numbers; none if `stop` is set or the time is over first."""
        if not await self._readable(stop, seconds):
            return ()
        data = os.read(self._descriptor, _READ_BYTES)
        self.ended = not data
        *lines, partial = (self._partial + data).split(b"\n")
        self._partial = partial
        if self.ended and partial:
            lines.append(partial)
        first, self._number = self._number + 1, self._number + len(lines)
        return enumerate(lines, first)

    async def _readable(self, stop: asyncio.Event, seconds: float | None) -> bool:
        loop, data_ready = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(self._descriptor, data_ready.set)
        except PermissionError:  # a device that never blocks, such as /dev/null
            return True
        waiting = [asyncio.ensure_future(event.wait()) for event in (data_ready, stop)]
        try:
            timeout = None if seconds is None else max(0.0, seconds)
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._descriptor)
            for each in waiting:
                each.cancel()
        return data_ready.is_set()
