"""How old messages can be, and when the sweeper must run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_operator.expiry.policy import (
    SEEN_SECONDS,
    STABLE_SECONDS,
    Bound,
    QueueObservation,
    Row,
    Served,
    needs_sweep,
    observed,
    restored,
)
from chaski_operator.expiry.status import expiry_condition, is_sweeping

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_800_000_000_000


class CheckedRow:
    """A row that is checked every ten minutes."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.now = NOW

    def checks(
        self, hours: float, total: int | None, oldest_age: float | None = None, *, attended: bool = False
    ) -> None:
        """Checks for some hours, with equal results. `oldest_age`: milliseconds, of the messages that workers received."""
        for _ in range(round(hours * 6)):
            self.check(total, attended, None if oldest_age is None else round(self.now + HOUR // 6 - oldest_age))

    def check(self, total: int | None, attended: bool, oldest: int | None) -> None:
        """One check, ten minutes later. `oldest`: epoch milliseconds."""
        self.now += HOUR // 6
        self.bound = observed(self.bound, QueueObservation(total, attended, oldest), self.now, self.now / 1000)

    @property
    def age(self) -> float:
        """The bound as an age in days."""
        assert self.bound.since is not None
        return (self.now - self.bound.since) / DAY


def test_age_counts_from_the_last_moment_at_which_the_row_was_empty() -> None:
    """Minus the minutes by which SQS's counts lag behind."""
    row = CheckedRow(Bound(None, empty_at=NOW))
    row.checks(24, 0)
    assert row.bound.since is None
    row.checks(48, 5)
    assert 2 <= row.age <= 2.02


@pytest.mark.promise(8)
def test_unknown_counts_do_not_lower_the_age() -> None:
    """Nor does a single zero: counts are approximate."""
    row = CheckedRow(Bound(NOW - 5 * DAY))
    row.checks(24, None)
    row.checks(1 / 3, 0)
    row.checks(1, None)
    row.checks(1 / 6, 0)
    row.checks(1, 7)
    assert 6 <= row.age <= 6.2


def test_empty_checks_over_two_minutes_reset_the_bound() -> None:
    """At least three, with no message found in between."""
    bound = Bound(NOW - 5 * DAY)
    for at in (0, 60, 119):
        bound = observed(bound, QueueObservation(0, attended=False), NOW, at)
    assert bound.since == NOW - 5 * DAY
    assert observed(bound, QueueObservation(0, attended=False), NOW, 121).since is None


@pytest.mark.promise(2)
def test_busy_queue_is_as_old_as_the_oldest_message_received_in_thirteen_hours() -> None:
    """It is never empty; a head may be hidden for twelve hours, so a shorter time proves nothing."""
    row = CheckedRow(Bound(NOW - 30 * DAY))
    row.checks(6, 1_000, 2 * HOUR, attended=True)
    assert row.age == 14  # no message can be older
    row.checks(1, 1_000, 4 * DAY, attended=True)  # one that had been hidden
    row.checks(6.5, 1_000, 2 * HOUR, attended=True)
    assert 4 <= row.age <= 5
    row.checks(SEEN_SECONDS / 3_600 + 1, 1_000, 2 * HOUR, attended=True)
    assert row.age <= 1


@pytest.mark.promise(2)
def test_gap_between_workers_restarts_the_thirteen_hours() -> None:
    """No worker saw the messages that became visible in the gap."""
    row = CheckedRow(Bound(NOW - 9 * DAY))
    row.checks(12, 1_000, HOUR, attended=True)
    row.checks(1, 1_000, HOUR, attended=False)
    row.checks(12, 1_000, HOUR, attended=True)
    assert row.age > 9
    row.checks(2, 1_000, attended=True)
    assert row.age < 2


@pytest.mark.promise(2)
@settings(max_examples=30)
@given(
    sent=st.lists(st.integers(0, 20 * 24), min_size=1, max_size=5),
    served=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_bound_is_never_later_than_the_oldest_message(sent: list[int], served: list[bool]) -> None:
    """Messages arrive at any hour and stay; workers run on some days, and receive the oldest message on those days."""
    row = CheckedRow(Bound(None, empty_at=NOW))
    for hour in range(20 * 24):
        present = [at for at in sent if hour - 14 * 24 < at <= hour]
        attended = served[hour // 24]
        oldest = NOW + min(present) * HOUR if present and attended else None
        for _ in range(6):
            row.check(len(present), attended, oldest)
        if present:
            assert row.bound.since is not None
            assert row.bound.since <= NOW + min(present) * HOUR or row.bound.since == row.now - 14 * DAY


# ---- the bound of a new process


@pytest.mark.parametrize(
    ("row", "counted_at", "created_at", "total", "expected"),
    [
        ({"notEmptySince": NOW - 9 * DAY}, NOW, 0, 5, Bound(NOW - 9 * DAY)),
        ({"notEmptySince": NOW - 9 * DAY}, NOW, 0, None, Bound(NOW - 9 * DAY)),
        ({"visible": 0, "inFlight": 0, "delayed": 0}, NOW - HOUR, 0, 5, Bound(None, empty_at=NOW - HOUR)),
        ({"visible": 5, "inFlight": 0, "delayed": 0}, NOW - HOUR, 0, 5, Bound(NOW - 12 * DAY)),
        ({}, None, NOW - 2 * DAY, 5, Bound(NOW - 2 * DAY)),
        ({}, None, 0, 5, Bound(NOW - 12 * DAY)),
        ({"visible": 0}, NOW - HOUR, 0, 5, Bound(NOW - 12 * DAY)),
        ({}, None, 0, 0, Bound(None, empty_at=NOW)),
        ({}, None, 0, None, None),
    ],
    ids=[
        "not empty", "not empty, unknown now", "empty", "one release back", "a new queue", "an old queue",
        "unknown counts", "no messages", "nothing known",
    ],
)  # fmt: skip
def test_new_process_continues_from_the_status(
    row: dict[str, object], counted_at: int | None, created_at: int, total: int | None, expected: Bound | None
) -> None:
    """Without an entry in it, the messages may be as old as the queue."""
    assert restored(row, counted_at, created_at, total, NOW) == expected


# ---- the decision


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("age", "served", "sweeping", "wanted"),
    [
        (11.9, False, False, False),
        (12.0, False, False, True),
        (12.0, None, False, False),  # within half an hour of a change: Pods are replaced
        (12.0, None, True, True),
        (12.0, True, False, False),  # its own workers dead-letter what expires
        (12.0, True, True, False),
        (11.0, False, True, False),
        (13.5, False, True, True),
    ],
)
def test_sweeper_is_needed_by_day_twelve(age: float, served: bool | None, sweeping: bool, wanted: bool) -> None:
    """For a queue without workers, until it is certainly not needed."""
    rows = [Row("a", NOW - HOUR, False), Row("b", round(NOW - age * DAY), served), Row("c", None, False)]
    assert needs_sweep(rows, NOW, sweeping=sweeping) is wanted
    found = expiry_condition(rows, NOW, sweeping=sweeping)
    assert is_sweeping({"conditions": [{"type": found.type, "status": found.status, "reason": found.reason}]}) is wanted


@pytest.mark.parametrize(
    ("age", "served", "reason"),
    [(6.9, False, "NotNear"), (7.0, False, "Unserved"), (7.0, None, "NotNear"), (9.0, True, "NotNear")],
)
def test_condition_warns_from_day_seven(age: float, served: bool | None, reason: str) -> None:
    """For queues without workers."""
    found = expiry_condition([Row("messages", round(NOW - age * DAY), served)], NOW, sweeping=False)
    assert found.reason == reason
    assert ('"messages"' in found.message) is (reason == "Unserved")


def test_presence_of_workers_counts_after_half_an_hour() -> None:
    """A rollout or a crash does not count."""
    served = Served()
    served.record(True, 0.0)
    assert served.stable(STABLE_SECONDS - 1) is None
    assert served.stable(STABLE_SECONDS) is True
    served.record(False, STABLE_SECONDS + 10)
    assert served.stable(STABLE_SECONDS + 60) is None
    served.record(False, 2 * STABLE_SECONDS)
    assert served.stable(2 * STABLE_SECONDS + 10) is False
