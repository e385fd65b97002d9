"""How old messages can be, and when a worker must keep what SQS is about to delete."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_operator.expiry.policy import (
    SEEN_SECONDS,
    SETTLED_SECONDS,
    Bound,
    QueueObservation,
    Row,
    Served,
    needs_sweep,
    observed,
    restored,
)
from chaski_operator.expiry.status import is_sweeping, said_of_expiry

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_800_000_000_000


class Watch:
    """A row that is looked at every ten minutes."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.now = NOW

    def looks(
        self, hours: float, total: int | None, oldest_age: float | None = None, *, attended: bool = False
    ) -> None:
        """So many hours of looks that all find the same. `oldest_age`: milliseconds, of what workers received."""
        for _ in range(round(hours * 6)):
            self.look(total, attended, None if oldest_age is None else round(self.now + HOUR // 6 - oldest_age))

    def look(self, total: int | None, attended: bool, oldest: int | None) -> None:
        """One, ten minutes later. `oldest`: epoch milliseconds."""
        self.now += HOUR // 6
        self.bound = observed(self.bound, QueueObservation(total, attended, oldest), self.now, self.now / 1000)

    @property
    def age(self) -> float:
        """Days."""
        assert self.bound.since is not None
        return (self.now - self.bound.since) / DAY


def test_age_is_counted_from_the_last_moment_at_which_it_was_empty() -> None:
    """Less the minutes by which SQS's counts lag behind."""
    watch = Watch(Bound(None, empty_at=NOW))
    watch.looks(24, 0)
    assert watch.bound.since is None
    watch.looks(48, 5)
    assert 2 <= watch.age <= 2.02


@pytest.mark.promise(8)
def test_what_is_unknown_makes_nothing_younger() -> None:
    """Nor is one zero an empty queue: counts are approximate."""
    watch = Watch(Bound(NOW - 5 * DAY))
    watch.looks(24, None)
    watch.looks(1 / 3, 0)
    watch.looks(1, None)
    watch.looks(1 / 6, 0)
    watch.looks(1, 7)
    assert 6 <= watch.age <= 6.2


def test_looks_over_two_minutes_that_find_nothing_end_it() -> None:
    """Three of them, none in between that finds something."""
    bound = Bound(NOW - 5 * DAY)
    for at in (0, 60, 119):
        bound = observed(bound, QueueObservation(0, attended=False), NOW, at)
    assert bound.since == NOW - 5 * DAY
    assert observed(bound, QueueObservation(0, attended=False), NOW, 121).since is None


@pytest.mark.promise(2)
def test_a_busy_queue_is_as_old_as_the_oldest_that_workers_received_in_thirteen_hours() -> None:
    """It is never seen empty; a head may have been hidden for twelve hours, so a shorter while says nothing."""
    watch = Watch(Bound(NOW - 30 * DAY))
    watch.looks(6, 1_000, 2 * HOUR, attended=True)
    assert watch.age == 14  # no message can be older
    watch.looks(1, 1_000, 4 * DAY, attended=True)  # one that had been hidden
    watch.looks(6.5, 1_000, 2 * HOUR, attended=True)
    assert 4 <= watch.age <= 5
    watch.looks(SEEN_SECONDS / 3_600 + 1, 1_000, 2 * HOUR, attended=True)
    assert watch.age <= 1


@pytest.mark.promise(2)
def test_gap_between_workers_begins_the_thirteen_hours_anew() -> None:
    """What became visible in it was seen by nobody."""
    watch = Watch(Bound(NOW - 9 * DAY))
    watch.looks(12, 1_000, HOUR, attended=True)
    watch.looks(1, 1_000, HOUR, attended=False)
    watch.looks(12, 1_000, HOUR, attended=True)
    assert watch.age > 9
    watch.looks(2, 1_000, attended=True)
    assert watch.age < 2


@pytest.mark.promise(2)
@settings(max_examples=30)
@given(
    sent=st.lists(st.integers(0, 20 * 24), min_size=1, max_size=5),
    served=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_bound_is_never_later_than_the_oldest_message(sent: list[int], served: list[bool]) -> None:
    """Messages that come at any hour and stay; workers that come and go by the day, and see the oldest while they run."""
    watch = Watch(Bound(None, empty_at=NOW))
    for hour in range(20 * 24):
        lying = [at for at in sent if hour - 14 * 24 < at <= hour]
        attended = served[hour // 24]
        oldest = NOW + min(lying) * HOUR if lying and attended else None
        for _ in range(6):
            watch.look(len(lying), attended, oldest)
        if lying:
            assert watch.bound.since is not None
            assert watch.bound.since <= NOW + min(lying) * HOUR or watch.bound.since == watch.now - 14 * DAY


# ---- what a new process goes on from


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
        "not empty", "not empty, unknown now", "empty", "a release back", "a new queue", "an old queue",
        "unknown counts", "nothing in it", "nothing known",
    ],
)  # fmt: skip
def test_status_says_what_a_new_process_goes_on_from(
    row: dict[str, object], counted_at: int | None, created_at: int, total: int | None, expected: Bound | None
) -> None:
    """Where it says nothing of a queue, its messages may be as old as it is."""
    assert restored(row, counted_at, created_at, total, NOW) == expected


# ---- the decision


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("age", "served", "sweeping", "wanted"),
    [
        (11.9, False, False, False),
        (12.0, False, False, True),
        (12.0, None, False, False),  # for half an hour: Pods come and go
        (12.0, None, True, True),
        (12.0, True, False, False),  # workers keep what expires themselves
        (12.0, True, True, False),
        (11.0, False, True, False),
        (13.5, False, True, True),
    ],
)
def test_worker_is_wanted_by_day_twelve(age: float, served: bool | None, sweeping: bool, wanted: bool) -> None:
    """For a queue that has none, and until it is certain that it is not needed."""
    rows = [Row("a", NOW - HOUR, False), Row("b", round(NOW - age * DAY), served), Row("c", None, False)]
    assert needs_sweep(rows, NOW, sweeping=sweeping) is wanted
    said = said_of_expiry(rows, NOW, sweeping=sweeping)
    assert is_sweeping({"conditions": [{"type": said.type, "status": said.status, "reason": said.reason}]}) is wanted


@pytest.mark.parametrize(
    ("age", "served", "reason"),
    [(6.9, False, "NotNear"), (7.0, False, "Unserved"), (7.0, None, "NotNear"), (9.0, True, "NotNear")],
)
def test_condition_warns_from_day_seven(age: float, served: bool | None, reason: str) -> None:
    """Of queues without workers."""
    said = said_of_expiry([Row("messages", round(NOW - age * DAY), served)], NOW, sweeping=False)
    assert said.reason == reason
    assert ('"messages"' in said.message) is (reason == "Unserved")


def test_workers_must_have_been_there_or_gone_for_half_an_hour() -> None:
    """A roll or a crash is neither."""
    served = Served()
    served.note(True, 0.0)
    assert served.settled(SETTLED_SECONDS - 1) is None
    assert served.settled(SETTLED_SECONDS) is True
    served.note(False, SETTLED_SECONDS + 10)
    assert served.settled(SETTLED_SECONDS + 60) is None
    served.note(False, 2 * SETTLED_SECONDS)
    assert served.settled(2 * SETTLED_SECONDS + 10) is False
