"""The values of the FIFO rules."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

#: Order among messages that became visible again: queue time at which they did, and a counter within a millisecond.
QueuePosition: TypeAlias = tuple[int, int]


class HandleFailure(StrEnum):
    """Why an operation on a receipt handle failed."""

    EXPIRED = "expired"  # not in flight under this handle: visible again, or received again since
    DELETED = "deleted"  # the message does not exist any more
    TOO_LONG = "too-long"  # the visibility timeout would end more than 12 hours after the receive


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a queue that its rules depend on."""

    delay_ms: int = 0
    retention_ms: int | None = 345_600_000  # None: a message stays until it is deleted
    dedup_per_group: bool = False
    max_in_flight: int = 120_000  # API: a receive at the limit returns nothing
    scan_window: int = 120_000  # DOC: groups are searched in the first 120,000 messages


@dataclass(slots=True)
class InFlight:
    """A message that was received at least once. It is in flight until `until`."""

    group: str
    receives: int
    first_at: int  # epoch milliseconds by the wall clock, for people
    since: int  # queue time of the latest receive
    until: int  # queue time at which it is visible again
    attempt: str = ""  # ReceiveRequestAttemptId of the latest receive, while a repeat would return the message
    repeats: int = 0  # number of repeats of that attempt: only the latest response may release the message
    position: QueuePosition | None = None  # once it is visible again


@dataclass(frozen=True, slots=True)
class Received:
    """A message returned by a receive."""

    sequence: int
    group: str
    receives: int
    first_at: int
    repeats: int = 0
