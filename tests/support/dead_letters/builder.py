"""A dead letter for tests that care about some of its fields only."""

from dataclasses import replace
from typing import Any

from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason


def a_dead_letter(message_id: str = "m1", **changes: Any) -> DeadLetter:
    """A dead letter of route ns/r, for `404`, without error notes; its label is its identity unless given as `id`."""
    plain = DeadLetter(
        route="ns/r",
        message_id=message_id,
        id=message_id,
        subject="s",
        dead_lettered_at=1_800_000_000_000,
        reason=Reason.EXHAUSTED,
        error_class="404",
        target="t",
        url="http://t.example/",
        attempts=1,
        errors=(),
        envelope={"subject": "s"},
    )
    return replace(plain, **changes)
