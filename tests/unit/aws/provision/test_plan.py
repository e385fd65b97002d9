"""When a queue whose sends are blocked counts as drained."""

import pytest

from chaski_aws.provision.plan import DrainSample, drain_sample, is_drained, seconds_until_drained
from chaski_aws.provision.state import ObservedQueue

BLOCKED = 1_000.0  # in force from 1,060 on


def samples(*counts: tuple[float, int], blocked: float | None = BLOCKED) -> list[DrainSample]:
    """Samples with these times and counts."""
    return [DrainSample(at, total, blocked) for at, total in counts]


@pytest.mark.parametrize(
    ("found", "drained"),
    [
        ([], False),
        (samples((1_060, 0)), False),
        (samples((1_060, 0), (1_120, 0)), False),
        (samples((1_060, 0), (1_090, 0), (1_120, 0)), True),
        (samples((1_060, 0), (1_080, 0), (1_119, 0)), False),
        (samples((1_000, 0), (1_060, 0), (1_119, 0)), False),
        (samples((1_000, 0), (1_060, 0), (1_090, 0), (1_120, 0)), True),
        (samples((1_060, 0), (1_090, 1), (1_120, 0), (1_150, 0)), False),
        (samples((1_060, 0), (1_090, 1), (1_120, 0), (1_150, 0), (1_180, 0)), True),
        (samples((1_060, 0), (1_090, 0), (1_120, 3)), False),
        (samples((1_060, 0), (1_090, 0), (1_120, 0), blocked=None), False),
    ],
)
def test_drained_needs_three_empty_samples_over_a_minute_while_the_block_is_in_force(
    found: list[DrainSample], drained: bool
) -> None:
    """A single zero proves nothing, nor do three from before the block was in force."""
    assert is_drained(found) is drained


def test_messages_in_every_state_count() -> None:
    """Messages in flight and delayed messages count too."""
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
    assert drain_sample(queue, 5) == DrainSample(5, 7, None)


def test_shortest_time_until_drained() -> None:
    """The rest of the block's minute, and one minute of samples."""
    assert seconds_until_drained(samples((1_030, 0)), 1_030) == 90
    assert seconds_until_drained(samples((2_000, 0)), 2_000) == 60
