"""Lines of an NDJSON file: which are sent, in which requests, and with which results. Pure."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_client.responses import Settled
from chaski_core import json_codec
from chaski_core.ports import MAX_MESSAGE_BYTES
from chaski_runtime.process.command_error import wrong_input

Ranges = tuple[tuple[int, int], ...]  # first and last number of each, both included, ascending

MAX_CHUNK_LINES = 500
MAX_CHUNK_BYTES = 2_097_152
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks
_RUN = re.compile(r"[A-Za-z0-9._-]{1,40}\Z")  # followed by a line's number it is a message id
_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?\Z")


@dataclass(frozen=True, slots=True)
class Line:
    """A message that can be sent and retried: it has an id."""

    number: int  # in the file, from 1
    subject: str  # "" if it is missing or not text; ingest rejects such a message
    data: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that was accepted."""

    line: Line
    result: Mapping[str, Any]  # ingest's, with `status`, `id` and `messageId`

    def as_json(self) -> dict[str, Any]:
        """`{line, status, id, messageId, ...}`: ingest's result, with the number of the line in the file."""
        return {**self.result, "line": self.line.number}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not accepted, and why."""

    number: int
    status: int
    reason: str
    data: bytes

    def as_json(self) -> dict[str, Any]:
        """`{line, status, reason}`."""
        return {"line": self.number, "status": self.status, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The lines of one request, sorted by ingest's results."""

    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...]
    unsettled: tuple[Line, ...]  # not accepted and may be sent again, in the order of the file
    reason: str = ""  # of the first unsettled line, from ingest


def prepare(number: int, data: bytes, new_id: Callable[[], str]) -> Line | Rejected:
    """Adds an id to a line that has none, so that a retry is the same message; all other bytes stay as they are."""
    data = data.strip().removeprefix(BYTE_ORDER_MARK)  # parsers may ignore it: RFC 8259 §8.1
    try:
        document = json_codec.loads(data)
    except json_codec.JsonError as error:
        why = "UTF-16; JSON must be UTF-8" if data.startswith(_UTF_16) else f"not JSON: {error}"
        return Rejected(number, 400, why, data)
    if not isinstance(document, dict):
        return Rejected(number, 400, "not a JSON object with subject and body", data)
    if "id" not in document:
        rest = data[1:].lstrip()
        data = b'{"id":"%s"%s%s' % (new_id().encode(), b"," if document else b"", rest)
    if len(data) > MAX_MESSAGE_BYTES:
        return Rejected(number, 413, f"{len(data)} bytes with its id; the limit is {MAX_MESSAGE_BYTES}", data)
    subject = document.get("subject")
    return Line(number, subject if isinstance(subject, str) else "", data)


def readable(line: Line | Rejected) -> Line | Rejected:
    """The line, or why its order is unknown: it is not a JSON object, too long, or has no subject."""
    if isinstance(line, Line) and not line.subject:
        return Rejected(line.number, 400, "subject: missing, empty or not text", line.data)
    return line


class Chunker:
    """Groups lines into requests within ingest's limits."""

    def __init__(self) -> None:
        self.gathered: list[Line] = []
        self._size = 0

    def add(self, line: Line) -> Iterator[list[Line]]:
        """Adds a line; yields the lines before it if the request would be too large with it."""
        if self.gathered and (
            len(self.gathered) == MAX_CHUNK_LINES or self._size + len(line.data) + 1 > MAX_CHUNK_BYTES
        ):
            yield self.take()
        self.gathered.append(line)
        self._size += len(line.data) + 1

    def take(self) -> list[Line]:
        """Removes and returns the gathered lines."""
        taken, self.gathered, self._size = self.gathered, [], 0
        return taken


def chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Groups lines into requests."""
    chunker = Chunker()
    for line in lines:
        yield from chunker.add(line)
    if chunker.gathered:
        yield chunker.take()


def chunk_result(settled: Settled[Line]) -> ChunkResult:
    """The lines of one request, as the client has sorted them."""
    accepted = tuple(Accepted(line, result) for line, result in settled.accepted)
    rejected = tuple(Rejected(line.number, status, reason, line.data) for line, status, reason in settled.refused)
    return ChunkResult(accepted, rejected, settled.left, settled.reason)


def reject_all(lines: Iterable[Line], reason: str) -> list[Rejected]:
    """The lines as rejected with 503: retries ended without success."""
    return [Rejected(line.number, 503, reason, line.data) for line in lines]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines are sent, by their numbers from 1."""

    run: str  # a line without an id gets `<run>-<number>`
    first: int = 1
    skipped: Ranges = ()

    def __post_init__(self) -> None:
        if not _RUN.match(self.run):
            raise wrong_input(f'--run "{self.run}": expected 1 to 40 letters, digits, dots, underscores, hyphens')

    def keeps(self, number: int) -> bool:
        """Whether the line is sent."""
        return number >= self.first and not any(low <= number <= high for low, high in self.skipped)

    def after(self, request: Sequence[int], left: Collection[int]) -> "Selection":
        """The rest once all lines before a request are settled, and all of the request except `left`."""
        if not request:
            return self
        first = min(left) if left else request[-1] + 1
        settled = _ranges(number for number in request if number > first and number not in left)
        return Selection(
            self.run, first, tuple(sorted((*settled, *(each for each in self.skipped if each[1] > first))))
        )

    @property
    def flags(self) -> str:
        """As given on the command line."""
        skipped = ",".join(f"{low}-{high}" if high > low else str(low) for low, high in self.skipped)
        return f"--run {self.run} --from-line {self.first}" + (f" --skip-lines {skipped}" if skipped else "")


def parse_ranges(text: str) -> Ranges:
    """Parses `8018-8020,8022`.

    Raises:
        CommandError: invalid text.
    """
    ranges = []
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise wrong_input(f'--skip-lines: "{part}" is not a range of lines', "for example: 8018-8020,8022")
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return tuple(sorted(ranges))


def _ranges(numbers: Iterable[int]) -> Ranges:
    """Ascending numbers as ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
