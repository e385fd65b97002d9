"""A lane's messages and its deadline."""

import pytest

from chaski_worker.lanes.lane import Lane, LaneLostError, split_by_group
from support.worker.harness import received_message


def test_split_keeps_the_order_of_each_group() -> None:
    """Messages of mixed groups become lanes in the order received."""
    messages = [received_message(str(index).encode(), group=group) for index, group in enumerate("abacb")]
    assert [[each.body.decode() for each in group] for group in split_by_group(messages)] == [
        ["0", "2"],
        ["1", "4"],
        ["3"],
    ]


def test_a_lane_is_lost_when_its_visibility_runs_out() -> None:
    """From the deadline on nothing is done with it, and it stays lost."""
    lane = Lane("q", [received_message(b"x")], 0.0, 60.0)
    lane.check(59.9)
    with pytest.raises(LaneLostError, match="ran out"):
        lane.check(60.0)
    with pytest.raises(LaneLostError):
        lane.check(1.0)
