"""The values of the FIFO rules."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

#: Where a message that was given back stands in the line: queue time at which it was visible again, and a counter for
#: those that came back in the same millisecond.
Place: TypeAlias = tuple[int, int]


class Refusal(StrEnum):
    """Why an operation on a receipt handle was refused."""

    EXPIRED = "expired"  # not held under this handle: visible again, or received again since
    GONE = "gone"  # there is no such message any more
    TOO_LONG = "too-long"  # the hold would be longer than 12 hours from the receive


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rules depend on."""

    delay_ms: int = 0
    retention_ms: int | None = 345_600_000  # None: a message stays until it is deleted
    dedup_per_group: bool = False
    max_in_flight: int = 120_000  # API: a receive at the limit returns nothing
    scan_window: int = 120_000  # DOC: groups are looked for in the first 120,000 messages


@dataclass(slots=True)
class InFlight:
    """A message that was received at least once. It is held while `until` lies in the future."""

    group: str
    receives: int
    first_at: int  # epoch milliseconds by the wall clock, for people
    since: int  # queue time of the latest receive
    until: int  # queue time at which it is visible again
    attempt: str = ""  # ReceiveRequestAttemptId of the latest receive, while a repeat would return the message
    claim: int = 0  # how often that attempt was repeated: tells which of its answers holds the message now
    place: Place | None = None  # in the line, once it is visible again


@dataclass(frozen=True, slots=True)
class Received:
    """A message handed out."""

    sequence: int
    group: str
    receives: int
    first_at: int
    claim: int = 0
