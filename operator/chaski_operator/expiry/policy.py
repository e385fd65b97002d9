"""How old the messages of a queue can be, and when a worker must keep what SQS is about to delete. Pure.

SQS deletes a message 14 days after it was sent, whether or not anybody ever received it (API_SetQueueAttributes,
MessageRetentionPeriod). Workers keep what reaches 13 days as a dead letter; a queue without workers needs one in time,
whatever is suspended, left to another autoscaler or scaled to zero.

No count says how old a message is. What is known is a bound: nothing in a queue is older than the last moment at which
it was certainly empty, nor than the oldest message that workers received while they saw all that could be received. The
bound may be earlier than the truth, never later; a worker that is started too early finds nothing to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

_DAY_MS = 86_400_000
RETENTION_MS = 14 * _DAY_MS
WARN_MS = 7 * _DAY_MS  # from this age on people are warned
SWEEP_MS = (
    12 * _DAY_MS
)  # a worker must run from this age on: a day before the first message expires, two before SQS acts
EMPTY_LOOKS = 3  # in a row, over so many seconds, that must find nothing before a queue counts as empty
EMPTY_SECONDS = 120.0
COUNTS_LAG_MS = 120_000  # SQS's counts may be a minute old: API_GetQueueAttributes
SEEN_SECONDS = 46_800.0  # 13 h: a message can be hidden for 12 at most, so workers have received all heads by then
SETTLED_SECONDS = 1_800.0  # that a queue must have, or lack, workers before anything follows: Pods come and go


@dataclass(frozen=True, slots=True)
class QueueObservation:
    """One look at one row of `status.queues`."""

    total: int | None  # messages; None: unknown
    attended: bool  # workers answered, and none holds all that it may: they see what can be received
    oldest_received: int | None = None  # epoch milliseconds, SentTimestamp of the oldest they received lately


@dataclass(frozen=True, slots=True)
class Bound:
    """What is known of the age of one row's messages. `since` is kept in the status; the rest is lost with the process."""

    since: int | None  # epoch milliseconds: nothing in it was sent earlier; None: it is empty
    empty_at: int = 0  # epoch milliseconds, when it was last seen empty for certain
    empty_looks: int = 0
    empty_from: float = 0.0  # monotonic seconds, of the first of these looks
    seen_from: float | None = None  # monotonic seconds from which workers see it without a gap
    seen_oldest: int | None = None  # epoch milliseconds, the oldest that they received since then


@dataclass(frozen=True, slots=True)
class Row:
    """A row with what decides about it."""

    name: str
    since: int | None  # as in `Bound`
    served: bool | None  # workers of its own: yes, no, or changed within the last half hour


def restored(
    row: Mapping[str, object], counted_at: int | None, created_at: int, total: int | None, now: int
) -> Bound | None:
    """What a status says of a row, for a process that has its first look; None: nothing is known.

    Args:
        row: of `status.queues`, with `notEmptySince` as epoch milliseconds where it is there.
        counted_at: epoch milliseconds at which the counts of the status were read, at the earliest; None: never.
        created_at: epoch milliseconds at which the oldest of its SQS queues was made; 0: not known.
        total: messages, by this look; None: unknown.
        now: epoch milliseconds.
    """
    since = row.get("notEmptySince")
    if isinstance(since, int):
        return Bound(since)
    if counted_at is not None and all(row.get(state) == 0 for state in ("visible", "inFlight", "delayed")):
        return Bound(None, empty_at=max(counted_at, created_at))
    if not total:
        return None if total is None else Bound(None, empty_at=now)
    # Nobody has looked before: what lies there may be as old as the queue.
    return Bound(max(created_at, now - SWEEP_MS))


def observed(before: Bound, seen: QueueObservation, now: int, monotonic: float) -> Bound:
    """What is known after a look. `now`: epoch milliseconds; `monotonic`: seconds."""
    if seen.total is None:  # unknown is not zero, and nothing gets younger by it
        return replace(before, empty_looks=0, seen_from=None, seen_oldest=None)
    if seen.total == 0:
        return _empty(before, now, monotonic)
    since = before.since if before.since is not None else before.empty_at - COUNTS_LAG_MS
    bound = replace(before, since=max(since, now - RETENTION_MS), empty_looks=0)
    return _seen(bound, seen, monotonic)


def _empty(before: Bound, now: int, monotonic: float) -> Bound:
    since_when = before.empty_from if before.empty_looks else monotonic
    bound = replace(before, empty_looks=before.empty_looks + 1, empty_from=since_when)
    certain = bound.empty_looks >= EMPTY_LOOKS and monotonic - since_when >= EMPTY_SECONDS
    if before.since is None or certain:
        return replace(bound, since=None, empty_at=now, seen_from=None, seen_oldest=None)
    return bound


def _seen(bound: Bound, seen: QueueObservation, monotonic: float) -> Bound:
    """Follows what workers receive; after 13 hours without a gap the oldest of it is the oldest there is."""
    if not seen.attended:
        return replace(bound, seen_from=None, seen_oldest=None)
    oldest = min((at for at in (bound.seen_oldest, seen.oldest_received) if at is not None), default=None)
    if bound.seen_from is None:
        return replace(bound, seen_from=monotonic, seen_oldest=seen.oldest_received)
    if oldest is None or bound.since is None or monotonic - bound.seen_from < SEEN_SECONDS:
        return replace(bound, seen_oldest=oldest)
    return replace(bound, since=max(bound.since, oldest), seen_from=monotonic, seen_oldest=seen.oldest_received)


def unserved(rows: Iterable[Row], age_ms: int, now: int) -> list[Row]:
    """Rows without workers whose messages may be that old."""
    return [row for row in rows if row.served is not True and row.since is not None and now - row.since >= age_ms]


def needs_sweep(rows: Iterable[Row], now: int, *, sweeping: bool) -> bool:
    """Whether a worker must run that keeps what is about to expire.

    Args:
        rows: of the route.
        now: epoch milliseconds.
        sweeping: it runs already: it stays until it is certain that it is not needed.
    """
    return any(row.served is False or sweeping for row in unserved(rows, SWEEP_MS, now))


class Served:
    """Since when a line has, or lacks, workers that answer. Of one process: a new one waits half an hour."""

    def __init__(self) -> None:
        self.answering: bool | None = None  # at the last look
        self._since = 0.0

    def note(self, answering: bool, monotonic: float) -> None:
        """What a look found."""
        if answering is not self.answering:
            self.answering, self._since = answering, monotonic

    def settled(self, monotonic: float) -> bool | None:
        """Yes or no, where that has been so for half an hour; else None."""
        return self.answering if monotonic - self._since >= SETTLED_SECONDS else None
