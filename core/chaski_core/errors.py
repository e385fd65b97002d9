"""The exceptions of Chaski.

    ChaskiError
    ├── InvalidInputError        an input is invalid; has every error
    │   ├── InvalidMessageError
    │   └── InvalidRouteError
    ├── BackendError             a call to the queue or the store failed
    │   ├── BackendUnavailableError   unreachable or overloaded: try again later
    │   └── BackendRejectedError      refused permanently: the same call would fail again
    └── RouteConflictError       a change that the existing data or queues do not allow

The outcome of an HTTP attempt is never an exception; it is a value (`outcome.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One error of an input: the field and the reason."""

    field: str  # path as a user writes it: `body.headers.X-A`, `spec.retry.ladders[2].rungs[0]`; "" for the whole
    message: str  # names the value and what would be valid

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ChaskiError(Exception):
    """The base of all exceptions below."""


class InvalidInputError(ChaskiError):
    """An input is invalid; `errors` has all its errors, not only the first."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = tuple(errors)


class InvalidMessageError(InvalidInputError):
    """A message is invalid."""


class InvalidRouteError(InvalidInputError):
    """A ChaskiRoute document breaks its schema or one of its rules."""


class BackendError(ChaskiError):
    """A call to the queue or the store failed."""


class BackendUnavailableError(BackendError):
    """The backend is unreachable or overloaded; the call itself may be valid."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class BackendRejectedError(BackendError):
    """The backend refused the call permanently; `code` is the backend's own error code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class RouteConflictError(ChaskiError):
    """A changed route contradicts existing data, for example in an immutable field."""
