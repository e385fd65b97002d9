"""Reasons why a message or a request is not accepted, as RFC 9457 problem details and as lines of a batch response."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chaski_core.errors import FieldError

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a message or a whole request was not accepted."""

    status: int
    reason: str  # one of a closed list: the end of `type`, and the metric label
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after_seconds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The body of an `application/problem+json` response."""
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


def errors_json(errors: tuple[FieldError, ...]) -> list[dict[str, str]]:
    """Field errors as the JSON of problem details and of batch lines."""
    return [{"field": error.field, "message": error.message} for error in errors]


def invalid(errors: tuple[FieldError, ...]) -> Problem:
    """The message is not valid; every error is listed."""
    detail = "; ".join(str(error) for error in errors)
    return Problem(400, "invalid", "The message is not valid", detail, errors)


def too_large(detail: str) -> Problem:
    """A message or a body is above its limit."""
    return Problem(413, "too-large", "Too large", detail)


def body_too_large(limit: int) -> Problem:
    """The body is above the limit of its endpoint, in bytes."""
    return too_large(f"the body has more than {limit} bytes")


def unsupported(detail: str) -> Problem:
    """The body has a type, charset or encoding that ingest does not read."""
    return Problem(415, "unsupported-type", "Unsupported media type", detail)


def no_route(namespace: str, name: str) -> Problem:
    """The route does not exist, or takes no messages until its owner acts.

    The producer is not authenticated yet, so both get the same response: the operator's reasons quote the route's spec.
    """
    detail = f'namespace "{namespace}" has no route "{name}" that takes messages'
    return Problem(404, "no-route", "No such route", f"{detail}; a ChaskiRoute's conditions say why it takes none")


def not_ready(detail: str, retry_after_seconds: int) -> Problem:
    """The route, or this process, takes messages soon."""
    return Problem(503, "not-ready", "Not ready", detail, retry_after_seconds=retry_after_seconds)


def denied(status: int, detail: str, retry_after_seconds: int | None) -> Problem:
    """Authentication failed (401, 403), rate limit exceeded (429), or the authenticator is unavailable (503)."""
    reasons = {429: ("rate-limited", "Too many messages"), 503: ("auth-away", "Not accepted")}  # words: allow
    if status not in reasons:
        return of_status(status, detail)
    return Problem(status, *reasons[status], detail, retry_after_seconds=retry_after_seconds)


def subject_denied(producer: str | None, route: str) -> Problem:
    """The producer may not send messages of this subject."""
    detail = f'{producer} may not send this subject: no pattern of its `subjects` in spec.producers of route "{route}" matches it'
    return Problem(
        403,
        "subject-denied",
        "Subject not allowed",
        detail,
        (FieldError("subject", "is not allowed for this producer"),),
    )


def suspended(key: str, retry_after_seconds: int) -> Problem:
    """The route's `suspend.ingest` is set."""
    detail = f'ingest of route "{key}" is suspended'
    return Problem(429, "suspended", "Suspended", detail, retry_after_seconds=retry_after_seconds)


def draining(retry_after_seconds: int) -> Problem:
    """This process is shutting down."""
    detail = "this server is shutting down; send the request again to reach another one"
    return Problem(503, "draining", "Shutting down", detail, retry_after_seconds=retry_after_seconds)


def overloaded(detail: str, retry_after_seconds: int) -> Problem:
    """A limit of what this process holds is reached."""
    return Problem(503, "overloaded", "Overloaded", detail, retry_after_seconds=retry_after_seconds)


def queue_unavailable(detail: str, retry_after_seconds: int) -> Problem:
    """The queue did not acknowledge the message."""
    return Problem(503, "queue-away", "Not accepted", detail, retry_after_seconds=retry_after_seconds)  # words: allow


def not_sent(line: int) -> Problem:
    """A line of a batch was not sent, to keep the order: `line`, of the same subject, was not accepted."""
    detail = f"line {line} of the same subject was not accepted, so this one was not sent"
    return Problem(503, "not-sent", "Not sent", detail)


def not_sent_after(line: int) -> Problem:
    """A line of a batch was not sent, to keep the order: `line` is unreadable and may be of the same subject."""
    detail = f"line {line} could not be read, so it may be of the same subject; this one was not sent"
    return Problem(503, "not-sent", "Not sent", detail)


def of_status(status: int, detail: str = "") -> Problem:
    """A problem with the reason phrase of an HTTP status."""
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), phrase, detail or phrase)
