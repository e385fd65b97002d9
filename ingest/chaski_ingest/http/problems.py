"""What is answered instead of 202: RFC 9457 problem details, and the same as a line of a batch's answer."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chaski_core.errors import FieldError

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a message or a whole request was not accepted."""

    status: int
    reason: str  # a short word of a closed list: end of `type`, and the metric label
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after_seconds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The body of an `application/problem+json` answer."""
        document: dict[str, Any] = {
            "type": f"urn:chaski:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = errors_json(self.errors)
        return document

    def as_line(self, line: int) -> dict[str, Any]:
        """The result of one line of a batch; `line` counts from 1."""
        return {
            "line": line,
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "errors": errors_json(self.errors),
        }


def errors_json(faults: tuple[FieldError, ...]) -> list[dict[str, str]]:
    """Faults as both kinds of answer list them."""
    return [{"field": fault.field, "message": fault.message} for fault in faults]


def invalid(faults: tuple[FieldError, ...]) -> Problem:
    """A message that can't be accepted as it is."""
    detail = "; ".join(str(fault) for fault in faults)
    return Problem(400, "invalid", "The message is not valid", detail, faults)


def too_large(detail: str) -> Problem:
    """A message or body above its limit."""
    return Problem(413, "too-large", "Too large", detail)


def body_too_large(limit: int) -> Problem:
    """A body above the limit of its kind."""
    return too_large(f"the body has more than {limit} bytes")


def unsupported(detail: str) -> Problem:
    """A body of another kind than can be read."""
    return Problem(415, "unsupported-type", "Unsupported media type", detail)


def no_route(namespace: str, name: str) -> Problem:
    """Nothing is known of the route asked for; what else there is is not told."""
    return Problem(404, "no-route", "No such route", f'there is no route "{name}" in namespace "{namespace}"')


def unserved(status: int, detail: str, retry_after_seconds: int) -> Problem:
    """The route is known, but takes nothing now: 404 until somebody does something, 503 for a moment."""
    if status == 404:
        return Problem(404, "no-route", "No such route", detail)
    return Problem(status, "not-ready", "Not ready", detail, retry_after_seconds=retry_after_seconds)


def denied(status: int, detail: str, retry_after_seconds: int | None) -> Problem:
    """Whoever asks may not send: 401, 403, not so much (429), or it can't be told at the moment (503)."""
    reasons = {429: ("rate-limited", "Too many messages"), 503: ("auth-away", "Not accepted")}
    if status not in reasons:
        return of_status(status, detail)
    return Problem(status, *reasons[status], detail, retry_after_seconds=retry_after_seconds)


def suspended(key: str, retry_after_seconds: int) -> Problem:
    """The route takes nothing now, because somebody said so."""
    detail = f'ingest of route "{key}" is suspended'
    return Problem(429, "suspended", "Suspended", detail, retry_after_seconds=retry_after_seconds)


def draining(retry_after_seconds: int) -> Problem:
    """This process is about to end."""
    detail = "this server is shutting down; another one will answer"
    return Problem(503, "draining", "Shutting down", detail, retry_after_seconds=retry_after_seconds)


def overloaded(detail: str, retry_after_seconds: int) -> Problem:
    """Too much is held already."""
    return Problem(503, "overloaded", "Too much to do", detail, retry_after_seconds=retry_after_seconds)


def queue_away(detail: str, retry_after_seconds: int) -> Problem:
    """The queue did not acknowledge the message."""
    return Problem(503, "queue-away", "Not accepted", detail, retry_after_seconds=retry_after_seconds)


def not_sent(line: int) -> Problem:
    """A line of a batch that was held back for the order's sake; `line` is the one that failed."""
    detail = f"line {line} of the same subject was not accepted, so this one was not sent"
    return Problem(503, "not-sent", "Not sent", detail)


def not_sent_after(line: int) -> Problem:
    """A line of a batch that was held back because `line`, an earlier one, may be of its subject."""
    detail = f"line {line} could not be read, so it may be of the same subject; this one was not sent"
    return Problem(503, "not-sent", "Not sent", detail)


def of_status(status: int, detail: str = "") -> Problem:
    """A problem that HTTP itself names."""
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), phrase, detail or phrase)
