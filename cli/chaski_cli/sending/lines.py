"""What becomes of the lines of an NDJSON file. Pure: reading, sending and waiting are elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core import json_codec

MAX_MESSAGE_BYTES = 262_144
MAX_CHUNK_LINES = 500
MAX_CHUNK_BYTES = 2_097_152
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks
_NOT_NOW = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Line:
    """A message that can be sent, and sent again: it carries an id."""

    number: int  # in the file, from 1
    subject: str  # "" where it has none that is text; ingest will say so
    data: bytes


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
class Judged:
    """The lines of one request, sorted by what ingest said."""

    accepted: tuple[Line, ...]
    rejected: tuple[Rejected, ...]
    again: tuple[Line, ...]  # known not to be accepted, in the order of the file
    reason: str = ""  # why again, in ingest's words


def prepare(number: int, data: bytes, new_id: Callable[[], str]) -> Line | Rejected:
    """Gives a line an id where it has none, so that sending it twice is one message; all other bytes stay."""
    data = data.strip().removeprefix(BYTE_ORDER_MARK)  # a parser may leave it out: RFC 8259 §8.1
    try:
        document = json_codec.loads(data)
    except json_codec.JsonError as error:
        why = "UTF-16; JSON has to be UTF-8" if data.startswith(_UTF_16) else f"not JSON: {error}"
        return Rejected(number, 400, why, data)
    if not isinstance(document, dict):
        return Rejected(number, 400, "no JSON object with subject and body", data)
    if "id" not in document:
        rest = data[1:].lstrip()
        data = b'{"id":"%s"%s%s' % (new_id().encode(), b"," if document else b"", rest)
    if len(data) > MAX_MESSAGE_BYTES:
        return Rejected(number, 413, f"{len(data)} bytes with its id; at most {MAX_MESSAGE_BYTES} are taken", data)
    subject = document.get("subject")
    return Line(number, subject if isinstance(subject, str) else "", data)


def readable(line: Line | Rejected) -> Line | Rejected:
    """The line, or why its order can't be known: it is no JSON object, too long, or has no subject."""
    if isinstance(line, Line) and not line.subject:
        return Rejected(line.number, 400, "subject: is missing or empty, or is not text", line.data)
    return line


class Chunker:
    """Gathers lines into requests that ingest takes."""

    def __init__(self) -> None:
        self.gathered: list[Line] = []
        self._size = 0

    def add(self, line: Line) -> Iterator[list[Line]]:
        """Adds a line; gives what was gathered before it where the request would be too large with it."""
        if self.gathered and (
            len(self.gathered) == MAX_CHUNK_LINES or self._size + len(line.data) + 1 > MAX_CHUNK_BYTES
        ):
            yield self.take()
        self.gathered.append(line)
        self._size += len(line.data) + 1

    def take(self) -> list[Line]:
        """What was gathered; nothing is afterwards."""
        taken, self.gathered, self._size = self.gathered, [], 0
        return taken


def chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cuts lines into requests."""
    chunker = Chunker()
    for line in lines:
        yield from chunker.add(line)
    if chunker.gathered:
        yield chunker.take()


def judge(lines: Sequence[Line], results: Sequence[Mapping[str, Any]]) -> Judged:
    """Sorts the lines of one request by ingest's results, one for each line and in order.

    A line that the queue could not take goes again, unless a later line of its subject was accepted: then sending it
    again would put it behind that one, so it is rejected.
    """
    accepted: list[Line] = []
    rejected: list[Rejected] = []
    again: list[Line] = []
    reason = ""
    overtaken: set[str] = set()
    for line, result in reversed(list(zip(lines, results, strict=True))):
        status = result.get("status")
        if status == 202:
            accepted.append(line)
            overtaken.add(line.subject)
        elif status not in _NOT_NOW:
            rejected.append(Rejected(line.number, status if isinstance(status, int) else 0, explain(result), line.data))
        elif line.subject in overtaken:
            why = "the queue took a later message of this subject but not this one; sent again it would be out of order"
            rejected.append(Rejected(line.number, 503, why, line.data))
        else:
            again.append(line)
            reason = explain(result)
    return Judged(tuple(accepted[::-1]), tuple(rejected[::-1]), tuple(again[::-1]), reason)


def give_up(lines: Iterable[Line], reason: str) -> list[Rejected]:
    """The lines as not accepted, because waiting for the queue took too long."""
    return [Rejected(line.number, 503, reason, line.data) for line in lines]


def can_come_later(status: int) -> bool:
    """Whether the same request may be accepted later."""
    return status in _NOT_NOW


def explain(problem: Mapping[str, Any]) -> str:
    """A problem of ingest in one line: what is wrong, field by field."""
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(_error_text(error) for error in errors)
    return str(problem.get("detail") or problem.get("title") or "no reason given")


def _error_text(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)
    field, message = error.get("field"), error.get("message")
    return f"{field}: {message}" if field else str(message)
