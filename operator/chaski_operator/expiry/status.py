"""What a route's status says of messages that near their end on SQS: one condition, and a time in each row. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaski_core.timestamps import timestamp
from chaski_operator.autoscaling.status import NEAR_EXPIRY, ScalingCondition
from chaski_operator.expiry.policy import SWEEP_MS, WARN_MS, Row, needs_sweep, unserved

SWEEPING, UNSERVED, NOT_NEAR = "Sweeping", "Unserved", "NotNear"


def said_of_expiry(rows: Sequence[Row], now: int, *, sweeping: bool) -> ScalingCondition:
    """The condition. Its message holds no figure that changes at every look.

    Args:
        rows: of the route.
        now: epoch milliseconds.
        sweeping: a worker runs already that keeps what is about to expire.
    """
    if needs_sweep(rows, now, sweeping=sweeping):
        queues = _listed(unserved(rows, SWEEP_MS, now))
        return ScalingCondition(
            NEAR_EXPIRY, "True", SWEEPING,
            f"no worker serves {queues}: SQS deletes messages after 14 days, so a worker that attempts nothing keeps what "
            "reaches 13 as dead letters",
        )  # fmt: skip
    old = [row for row in unserved(rows, WARN_MS, now) if row.served is False]
    if old:
        queues = f"no worker serves {_listed(old)}: SQS deletes messages after 14 days, and from 13 on they become dead letters"
        return ScalingCondition(NEAR_EXPIRY, "True", UNSERVED, queues)
    return ScalingCondition(NEAR_EXPIRY, "False", NOT_NEAR, "no queue without workers has held messages for a week")


def is_sweeping(status: Mapping[str, Any]) -> bool:
    """Whether the status asks for a worker that keeps what is about to expire."""
    conditions: Iterable[Mapping[str, Any]] = status.get("conditions") or ()
    return any((each["type"], each["status"], each["reason"]) == (NEAR_EXPIRY, "True", SWEEPING) for each in conditions)


def _listed(rows: Iterable[Row]) -> str:
    return ", ".join(
        f'"{row.name}", which may hold messages of {timestamp(row.since)[:10]}' for row in rows if row.since is not None
    )
