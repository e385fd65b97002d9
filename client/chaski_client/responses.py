"""Responses of ingest, and what they mean. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from chaski_core import json_codec

#: 408: the body did not arrive in time, and may be sent again (RFC 9110 §15.5.9).
_REPEATABLE = frozenset({408, 429, 500, 502, 503, 504})


class Item(Protocol):
    """A line of a batch."""

    @property
    def subject(self) -> str:
        """The subject; "" if it is unknown."""

    @property
    def data(self) -> bytes:
        """The JSON document, with an id, on one line."""


T = TypeVar("T", bound=Item)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of ingest; status 0, with the reason as body, if there was none.

    Attributes:
        at: when it arrived, in seconds of a monotonic clock.
        retry_after: seconds, from the header.
    """

    status: int
    body: bytes
    at: float
    retry_after: float | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.status == 0 or self.status in _REPEATABLE

    def reason(self) -> str:
        """Why nothing was accepted, as one line."""
        try:
            value = json_codec.loads(self.body)
        except json_codec.JsonError:
            return self.body.decode(errors="replace").strip() or f"HTTP status {self.status}"
        return explain(value) if isinstance(value, dict) else str(value)


def retry_after(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header as ingest writes it; None: none."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """The lines of a batch, sorted by ingest's results, each part in the order of the lines.

    Attributes:
        accepted: lines with their results.
        refused: lines with status and reason.
        left: not accepted, and may be sent again.
        reason: of the first line that is left.
    """

    accepted: tuple[tuple[T, Mapping[str, Any]], ...]
    refused: tuple[tuple[T, int, str], ...]
    left: tuple[T, ...]
    reason: str = ""


def settle(lines: Sequence[T], results: Sequence[Mapping[str, Any]]) -> Settled[T]:
    """Sorts the lines of one request by ingest's results, one for each line in order.

    A line that the queue could not store is left, unless a later line of its subject was accepted: a repeat would put
    it behind that one, so it is refused.
    """
    accepted: list[tuple[T, Mapping[str, Any]]] = []
    refused: list[tuple[T, int, str]] = []
    left: list[T] = []
    reason = ""
    overtaken: set[str] = set()
    for line, result in reversed(list(zip(lines, results, strict=True))):
        status = result.get("status")
        if status == 202:
            accepted.append((line, result))
            overtaken.add(line.subject)
        elif status not in _REPEATABLE:
            refused.append((line, status if isinstance(status, int) else 0, explain(result)))
        elif line.subject in overtaken:
            why = "the queue stored a later message of this subject but not this one; a retry would be out of order"
            refused.append((line, 503, why))
        else:
            left.append(line)
            reason = explain(result)
    return Settled(tuple(accepted[::-1]), tuple(refused[::-1]), tuple(left[::-1]), reason)


def explain(problem: Mapping[str, Any]) -> str:
    """A problem document of ingest as one line, with its errors by field."""
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(_error_text(error) for error in errors)
    return str(problem.get("detail") or problem.get("title") or "no reason given")


def _error_text(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)
    field, message = error.get("field"), error.get("message")
    return f"{field}: {message}" if field else str(message)
