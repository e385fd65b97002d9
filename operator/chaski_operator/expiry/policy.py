"""How old the messages of a queue can be, and when a sweeper must store them before SQS deletes them. Pure.

SQS deletes a message 14 days after it was sent, whether or not it was ever received (API_SetQueueAttributes,
MessageRetentionPeriod). Workers store messages older than 13 days as dead letters; a queue without workers needs one in
time, even if it is suspended, scaled by another autoscaler or scaled to zero.

The counts do not include an age. Only a bound is known: no message in a queue is older than the last moment at which
the queue was certainly empty, nor than the oldest message that workers received while they saw everything receivable.
The bound may be earlier than the truth, never later; a worker that is started too early finds nothing to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

_DAY_MS = 86_400_000
RETENTION_MS = 14 * _DAY_MS
WARN_MS = 7 * _DAY_MS  # from this age on the condition is a warning
SWEEP_MS = (
    12 * _DAY_MS
)  # from this age on a worker must run: one day before workers dead-letter, two before SQS deletes
EMPTY_CHECKS = 3  # consecutive checks without a message, over EMPTY_SECONDS, before a queue counts as empty
EMPTY_SECONDS = 120.0
COUNTS_LAG_MS = 120_000  # SQS's counts may be a minute old: API_GetQueueAttributes
SEEN_SECONDS = 46_800.0  # 13 h: a message is hidden for 12 h at most, so workers have received every head by then
STABLE_SECONDS = 1_800.0  # for which a queue must have, or lack, workers before it counts: Pods are replaced


@dataclass(frozen=True, slots=True)
class QueueObservation:
    """One check of a row of `status.queues`."""

    total: int | None  # messages; None: unknown
    attended: bool  # workers report, and none is at its limits: they see everything receivable
    oldest_received: int | None = None  # epoch milliseconds, SentTimestamp of the oldest message received recently


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on the age of a row's messages. `since` is stored in the status; the rest is lost with the process."""

    since: int | None  # epoch milliseconds: no message in it was sent earlier; None: it is empty
    empty_at: int = 0  # epoch milliseconds, when it was last certainly empty
    empty_checks: int = 0
    empty_from: float = 0.0  # monotonic seconds, of the first of these checks
    seen_from: float | None = None  # monotonic seconds since which workers have seen it without a gap
    seen_oldest: int | None = None  # epoch milliseconds, the oldest message received since then


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `status.queues` as input of the decision."""

    name: str
    since: int | None  # as in `Bound`
    served: bool | None  # whether it has workers of its own; None: changed within the last half hour


def restored(
    row: Mapping[str, object], counted_at: int | None, created_at: int, total: int | None, now: int
) -> Bound | None:
    """The bound with which a new process continues, from the route's status; None: nothing is known.

    Args:
        row: of `status.queues`, with `notEmptySince`, if present, as epoch milliseconds.
        counted_at: epoch milliseconds, the earliest time at which the counts of the status were read; None: never.
        created_at: epoch milliseconds, creation of the oldest of its SQS queues; 0: unknown.
        total: messages found by this check; None: unknown.
        now: epoch milliseconds.
    """
    since = row.get("notEmptySince")
    if isinstance(since, int):
        return Bound(since)
    if counted_at is not None and all(row.get(state) == 0 for state in ("visible", "inFlight", "delayed")):
        return Bound(None, empty_at=max(counted_at, created_at))
    if not total:
        return None if total is None else Bound(None, empty_at=now)
    # The first check ever: its messages may be as old as the queue.
    return Bound(max(created_at, now - SWEEP_MS))


def observed(before: Bound, seen: QueueObservation, now: int, monotonic: float) -> Bound:
    """The bound after a check. `now`: epoch milliseconds; `monotonic`: seconds."""
    if seen.total is None:  # unknown is not zero
        return replace(before, empty_checks=0, seen_from=None, seen_oldest=None)
    if seen.total == 0:
        return _empty(before, now, monotonic)
    since = before.since if before.since is not None else before.empty_at - COUNTS_LAG_MS
    bound = replace(before, since=max(since, now - RETENTION_MS), empty_checks=0)
    return _seen(bound, seen, monotonic)


def _empty(before: Bound, now: int, monotonic: float) -> Bound:
    since_when = before.empty_from if before.empty_checks else monotonic
    bound = replace(before, empty_checks=before.empty_checks + 1, empty_from=since_when)
    certain = bound.empty_checks >= EMPTY_CHECKS and monotonic - since_when >= EMPTY_SECONDS
    if before.since is None or certain:
        return replace(bound, since=None, empty_at=now, seen_from=None, seen_oldest=None)
    return bound


def _seen(bound: Bound, seen: QueueObservation, monotonic: float) -> Bound:
    """Uses what workers receive: after 13 hours without a gap, the oldest received message is the oldest in the queue."""
    if not seen.attended:
        return replace(bound, seen_from=None, seen_oldest=None)
    oldest = min((at for at in (bound.seen_oldest, seen.oldest_received) if at is not None), default=None)
    if bound.seen_from is None:
        return replace(bound, seen_from=monotonic, seen_oldest=seen.oldest_received)
    if oldest is None or bound.since is None or monotonic - bound.seen_from < SEEN_SECONDS:
        return replace(bound, seen_oldest=oldest)
    return replace(bound, since=max(bound.since, oldest), seen_from=monotonic, seen_oldest=seen.oldest_received)


def unserved(rows: Iterable[Row], age_ms: int, now: int) -> list[Row]:
    """Rows without workers whose messages may be at least that old."""
    return [row for row in rows if row.served is not True and row.since is not None and now - row.since >= age_ms]


def needs_sweep(rows: Iterable[Row], now: int, *, sweeping: bool) -> bool:
    """Whether the sweeper must run.

    Args:
        rows: of the route.
        now: epoch milliseconds.
        sweeping: the sweeper runs already; it stays until it is certainly not needed.
    """
    return any(row.served is False or sweeping for row in unserved(rows, SWEEP_MS, now))


class Served:
    """Since when a Deployment has, or lacks, workers that report. In memory: a new process waits half an hour."""

    def __init__(self) -> None:
        self.answering: bool | None = None  # at the last check
        self._since = 0.0

    def record(self, answering: bool, monotonic: float) -> None:
        """Records the result of a check."""
        if answering is not self.answering:
            self.answering, self._since = answering, monotonic

    def stable(self, monotonic: float) -> bool | None:
        """Whether it has workers, if that has not changed for half an hour; else None."""
        return self.answering if monotonic - self._since >= STABLE_SECONDS else None
