"""A message's trace as a table and as JSON."""

import io

from rich.console import Console

from chaski_cli.trace.formats import trace_view, traces_json
from chaski_core.ports import AttemptEntry
from chaski_embedded.storage.reader import State, Trace

AT = 1_764_000_000_123
FAILED = AttemptEntry("i", "m", "s", "default/first", 1, AT, "first", "failed", "404", 404, 12.3456, "status 404")
DELIVERED = AttemptEntry("i", "m", "s", "default/first", 2, AT + 5_000, "retry", "delivered", "", 200, 7.0)
TRACE = Trace("i", "m", "s", State.DELIVERED, (FAILED, DELIVERED))


def test_json_is_the_documented_object() -> None:
    """State, and each attempt with number, time, stage, outcome, class, status and duration."""
    (document,) = traces_json([TRACE])["messages"]
    assert {key: document[key] for key in ("messageId", "id", "subject", "state", "replayOf")} == {
        "messageId": "i",
        "id": "m",
        "replayOf": None,
        "subject": "s",
        "state": "delivered",
    }
    assert document["attempts"] == [
        {
            "number": 1,
            "at": "2025-11-24T16:00:00.123Z",
            "stage": "first",
            "outcome": "failed",
            "errorClass": "404",
            "status": 404,
            "durationMs": 12.346,
            "detail": "status 404",
        },
        {
            "number": 2,
            "at": "2025-11-24T16:00:05.123Z",
            "stage": "retry",
            "outcome": "delivered",
            "errorClass": None,
            "status": 200,
            "durationMs": 7.0,
        },
    ]


def test_the_table_has_the_state_and_every_attempt() -> None:
    """One line with the state, then one per attempt."""
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(trace_view(TRACE))
    assert isinstance(console.file, io.StringIO)
    head, _, first, second = console.file.getvalue().splitlines()
    assert head == "i (id m) of subject s: delivered"
    assert "status 404" in first
    assert "delivered" in second
    console.print(trace_view(TRACE, wide=True))
    assert "retry" in console.file.getvalue().splitlines()[-1]


def test_a_message_without_attempts_is_shown_as_pending() -> None:
    """A pending message is not an error."""
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(trace_view(Trace("m", "m", "s", State.PENDING, (), "root")))
    assert isinstance(console.file, io.StringIO)
    assert "no attempt" in console.file.getvalue()
    assert console.file.getvalue().startswith("m of subject s, a replay of root: pending\n")
