"""What becomes of the lines of an NDJSON file. Pure: reading, sending and waiting are elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaski_core import jsontext

MAX_MESSAGE_BYTES = 262_144
MAX_CHUNK_LINES = 500
MAX_CHUNK_BYTES = 2_097_152
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
    data = data.strip()
    try:
        document = jsontext.loads(data)
    except jsontext.JsonError as error:
        return Rejected(number, 400, f"not JSON: {error}", data)
    if not isinstance(document, dict):
        return Rejected(number, 400, "no JSON object with subject and body", data)
    if "id" not in document:
        rest = data[1:].lstrip()
        data = b'{"id":"%s"%s%s' % (new_id().encode(), b"," if document else b"", rest)
    if len(data) > MAX_MESSAGE_BYTES:
        return Rejected(number, 413, f"{len(data)} bytes with its id; at most {MAX_MESSAGE_BYTES} are taken", data)
    subject = document.get("subject")
    return Line(number, subject if isinstance(subject, str) else "", data)


def chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cuts lines into requests."""
    chunk: list[Line] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) == MAX_CHUNK_LINES or size + len(line.data) + 1 > MAX_CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line.data) + 1
    if chunk:
        yield chunk


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
