"""What people decided about subjects: which record applies to which message."""

from dataclasses import replace

import pytest

from chaski_core.retry.control import ControlAction, ControlRecord, Controls

HOLD = ControlRecord("ns/r", "s", ControlAction.HOLD, 1)
SKIP = ControlRecord("ns/r", "s", ControlAction.SKIP, 2, "m1")
RETRY = ControlRecord("ns/r", "s", ControlAction.RETRY_NOW, 3, "m2", 4)
CONTROLS = Controls.of([SKIP, HOLD, RETRY, replace(HOLD, subject="other")])


@pytest.mark.parametrize(
    ("subject", "message_id", "attempts", "expected"),
    [
        ("s", "m1", 0, SKIP),
        ("s", "m1", 9, SKIP),
        ("s", "m2", 4, RETRY),
        ("s", "m3", 0, HOLD),
        ("unheld", "m3", 0, None),
        ("unheld", "m1", 0, None),  # the identity of another subject's message
    ],
)
def test_a_record_applies_to_what_it_names(
    subject: str, message_id: str, attempts: int, expected: ControlRecord | None
) -> None:
    """A decision about the message takes precedence over a hold of its subject; no other message is touched."""
    assert CONTROLS.find(subject, message_id, attempts) == expected


def test_retry_now_is_done_by_one_attempt() -> None:
    """Also where its record was not removed: after the attempt the message waits again, by the hold or by its rung."""
    assert CONTROLS.find("s", "m2", 5) == HOLD
    assert Controls.of([RETRY]).find("s", "m2", 5) is None
    unknown = Controls.of([replace(RETRY, attempts=None)])
    assert unknown.find("s", "m2", 5) is not None


def test_there_is_nothing_in_an_empty_set() -> None:
    """Nothing applies where nothing was decided."""
    assert Controls.of([]).find("s", "m", 0) is None
