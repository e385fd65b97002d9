"""A dead letter for tests that care about some of its fields only."""

from dataclasses import replace
from typing import Any

from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason
from chaski_runtime.process.clock import SystemClock


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


def a_dead_letter_to_find(route: str, message_id: str, subject: str = "s") -> DeadLetter:
    """A dead letter of five seconds ago, whose content is `about a llama`."""
    url = "http://127.0.0.1:9/x"
    return a_dead_letter(
        message_id,
        route=route,
        subject=subject,
        dead_lettered_at=SystemClock().now_ms() - 5_000,
        error_class="503",
        target="target",
        url=url,
        attempts=3,
        envelope={"subject": subject, "body": {"url": url, "content": "about a llama"}},
    )
