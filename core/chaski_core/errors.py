"""Every error that Chaski raises on purpose.

    ChaskiError
    ├── InvalidInputError        what a person or program gave is wrong; carries every fault
    │   ├── InvalidMessageError
    │   └── InvalidRouteError
    ├── BackendError             the queue or the store did not do what was asked
    │   ├── BackendUnavailableError   away or overloaded: try again later
    │   └── BackendRejectedError      refused for good: the same call would fail again
    └── RouteConflictError       a change that the data on disk or in the queues does not allow

The outcome of an HTTP attempt is never an exception; it is a value (`outcome.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One thing that is wrong with an input: where, and what."""

    field: str  # path as a user writes it: `body.headers.X-A`, `spec.retry.ladders[2].rungs[0]`; "" for the whole
    message: str  # a sentence that names the value and what would be right

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ChaskiError(Exception):
    """The base of all errors below."""


class InvalidInputError(ChaskiError):
    """An input is wrong; `faults` names everything that is wrong with it, not only the first."""

    def __init__(self, faults: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class InvalidMessageError(InvalidInputError):
    """A message can't be accepted as it is."""


class InvalidRouteError(InvalidInputError):
    """A ChaskiRoute document breaks its schema or one of its rules."""


class BackendError(ChaskiError):
    """The queue or the store did not do what was asked."""


class BackendUnavailableError(BackendError):
    """The backend is away or overloaded; nothing is known to be wrong with the call."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class BackendRejectedError(BackendError):
    """The backend refused the call for good; `code` is the backend's own word for it."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class RouteConflictError(ChaskiError):
    """A changed route contradicts what exists already, for example an immutable field."""
