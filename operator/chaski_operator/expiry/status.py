"""The condition NearExpiry: messages that SQS is about to delete. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaski_core.timestamps import timestamp
from chaski_operator.expiry.policy import SWEEP_MS, WARN_MS, Row, needs_sweep, unserved
from chaski_operator.kube.status import Condition, condition_false, condition_true

NEAR_EXPIRY = "NearExpiry"
SWEEPING, UNSERVED, NOT_NEAR = "Sweeping", "Unserved", "NotNear"


def expiry_condition(rows: Sequence[Row], now: int, *, sweeping: bool) -> Condition:
    """The condition. Its message has no figure that changes with every check: that would cause a write each time.

    Args:
        rows: of the route.
        now: epoch milliseconds.
        sweeping: the sweeper runs already.
    """
    if needs_sweep(rows, now, sweeping=sweeping):
        remedy = "a sweep worker stores those older than 13 days as dead letters, without attempting any"
        return condition_true(NEAR_EXPIRY, SWEEPING, _message(unserved(rows, SWEEP_MS, now), remedy))
    old = [row for row in unserved(rows, WARN_MS, now) if row.served is False]
    if old:
        remedy = "those older than 13 days will be stored as dead letters"
        return condition_true(NEAR_EXPIRY, UNSERVED, _message(old, remedy))
    return condition_false(NEAR_EXPIRY, NOT_NEAR, "no queue without workers has held messages for a week")


def is_sweeping(status: Mapping[str, Any]) -> bool:
    """Whether the status requests the sweeper."""
    conditions: Iterable[Mapping[str, Any]] = status.get("conditions") or ()
    return any((each["type"], each["status"], each["reason"]) == (NEAR_EXPIRY, "True", SWEEPING) for each in conditions)


def _message(rows: Iterable[Row], remedy: str) -> str:
    queues = ", ".join(
        f'"{row.name}" (may hold messages from {timestamp(row.since)[:10]})' for row in rows if row.since is not None
    )
    return f"no worker serves {queues}: SQS deletes messages after 14 days; {remedy}"
