"""Which subjects wait, from attempt records and decisions."""

from dataclasses import replace

from chaski_cli.subjects.waiting import Held, waiting_subjects
from chaski_core.ports import AttemptRecord, HiddenHead
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from chaski_core.route.model import Ordering
from support.worker.harness import make_route

AT = 1_800_000_000_000
POLICY = RetryPolicy((Rung("short", 5), Rung("long", 60)), (Ladder("5xx", 2, ("short", "long")),))
ROUTE = make_route(Ordering.STRICT, policy=POLICY)
STATE = LadderState("503", 0, (ErrorNote("503", AT, "HTTP 503", "busy"),))
RECORD = AttemptRecord(STATE, AT + 5_000, receives=1, head=HiddenHead("ns/r", "s", "url", "handle", AT + 5_000))
HOLD = ControlRecord("ns/r", "s", ControlAction.HOLD, AT)
RETRY = ControlRecord("ns/r", "s", ControlAction.RETRY_NOW, AT, "m1", 1)


def test_a_head_is_shown_with_rung_due_time_and_last_error() -> None:
    """What the next attempt depends on; unknown values are null."""
    (found,) = waiting_subjects(ROUTE, [("m1", RECORD)], [])
    assert found.as_json() == {
        "route": "ns/r",
        "subject": "s",
        "messageId": "m1",
        "attempts": 1,
        "rung": "short",
        "due": "2027-01-15T08:00:05.000Z",
        "held": None,
        "heldSince": None,
        "lastError": {"class": "503", "at": "2027-01-15T08:00:00.000Z", "detail": "HTTP 503", "excerpt": "busy"},
        "decision": None,
    }


def test_the_rung_is_that_of_the_next_retry() -> None:
    """By the number of retries; none where the ladder has ended, or is another one now."""

    def rung(state: LadderState) -> str | None:
        (found,) = waiting_subjects(ROUTE, [("m1", replace(RECORD, state=state))], [])
        return found.rung

    assert [rung(replace(STATE, retries=retries)) for retries in range(5)] == ["short", "short", "long", "long", None]
    assert rung(replace(STATE, key="404")) is None


def test_a_held_subject_has_a_reason_and_no_due_time() -> None:
    """By a person, or because the ladder has ended; a person's hold is shown first."""
    exhausted = replace(RECORD, held_at=AT + 1)
    (found,) = waiting_subjects(ROUTE, [("m1", exhausted)], [])
    assert (found.held, found.held_since, found.due_at, found.rung) == (Held.EXHAUSTED, AT + 1, None, None)
    (found,) = waiting_subjects(ROUTE, [("m1", exhausted)], [HOLD])
    assert (found.held, found.held_since, found.due_at) == (Held.PERSON, AT, None)


def test_subjects_without_a_known_head_are_shown_too() -> None:
    """A held subject that was never attempted, and a decision about a message that is not at a known head."""
    skip = ControlRecord("ns/r", "t", ControlAction.SKIP, AT, "m9")
    found = waiting_subjects(ROUTE, [], [HOLD, skip])
    assert [(each.subject, each.message_id, each.held, each.decision, each.attempts) for each in found] == [
        ("s", None, Held.PERSON, None, None),
        ("t", "m9", None, skip, None),
    ]


def test_a_decision_is_shown_until_it_is_done() -> None:
    """`retry-now` is done once the message was attempted again, also where its record was not removed."""
    (found,) = waiting_subjects(ROUTE, [("m1", RECORD)], [RETRY])
    assert found.decision == RETRY
    (found,) = waiting_subjects(ROUTE, [("m1", replace(RECORD, state=replace(STATE, retries=1)))], [RETRY])
    assert found.decision is None
