"""When a fenced queue is empty for good."""

import pytest

from chaski_aws.provision.drain import Look, is_drained, look_at, seconds_until_drained
from chaski_aws.provision.state import ObservedQueue

FENCE = 1_000.0  # in force from 1,060 on


def looks(*seen: tuple[float, int], fence: float | None = FENCE) -> list[Look]:
    """Looks at these times with these counts."""
    return [Look(at, total, fence) for at, total in seen]


@pytest.mark.parametrize(
    ("seen", "drained"),
    [
        ([], False),
        (looks((1_060, 0)), False),
        (looks((1_060, 0), (1_120, 0)), False),
        (looks((1_060, 0), (1_090, 0), (1_120, 0)), True),
        (looks((1_060, 0), (1_080, 0), (1_119, 0)), False),
        (looks((1_000, 0), (1_060, 0), (1_119, 0)), False),
        (looks((1_000, 0), (1_060, 0), (1_090, 0), (1_120, 0)), True),
        (looks((1_060, 0), (1_090, 1), (1_120, 0), (1_150, 0)), False),
        (looks((1_060, 0), (1_090, 1), (1_120, 0), (1_150, 0), (1_180, 0)), True),
        (looks((1_060, 0), (1_090, 0), (1_120, 3)), False),
        (looks((1_060, 0), (1_090, 0), (1_120, 0), fence=None), False),
    ],
)
def test_only_three_empty_looks_over_a_minute_of_a_fence_in_force_count(seen: list[Look], drained: bool) -> None:
    """One zero is no proof, nor are three from before the fence was in force."""
    assert is_drained(seen) is drained


def test_all_states_of_messages_count() -> None:
    """A held or delayed message is one."""
    queue = ObservedQueue(
        "q.fifo",
        "https://q/q.fifo",
        {
            "ApproximateNumberOfMessages": "1",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "ApproximateNumberOfMessagesDelayed": "4",
            "LastModifiedTimestamp": "1000",
        },
        {},
    )
    assert look_at(queue, 5) == Look(5, 7, None)


def test_how_long_it_takes_at_least() -> None:
    """The rest of the fence's minute, and one of looking."""
    assert seconds_until_drained(looks((1_030, 0)), 1_030) == 90
    assert seconds_until_drained(looks((2_000, 0)), 2_000) == 60
