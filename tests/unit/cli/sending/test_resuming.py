"""Which lines a run that has ended early is continued with."""

from collections.abc import Collection, Sequence

import pytest

from chaski_cli.errors import CommandError
from chaski_cli.sending.resuming import Selection, parse_ranges


@pytest.mark.parametrize(
    ("given", "request_lines", "left", "flags"),
    [
        pytest.param(Selection("r"), [], [], "--run r --from-line 1", id="nothing was sent"),
        pytest.param(Selection("r"), [1, 2, 4], [], "--run r --from-line 5", id="all accepted"),
        pytest.param(Selection("r"), [1, 2, 4], [1, 2, 4], "--run r --from-line 1", id="none accepted"),
        pytest.param(
            Selection("r"), [5, 6, 7, 8, 9, 10], [6, 9], "--run r --from-line 6 --skip-lines 7-8,10", id="some"
        ),
        pytest.param(
            Selection("r", 3, ((4, 5), (90, 99))),
            [3, 6],
            [],
            "--run r --from-line 7 --skip-lines 90-99",
            id="skips stay",
        ),
        pytest.param(
            Selection("r", 3, ((4, 5),)),
            [3, 6],
            [3],
            "--run r --from-line 3 --skip-lines 4-5,6",
            id="skips between stay",
        ),
    ],
)
def test_what_is_left_is_named_by_line(
    given: Selection, request_lines: Sequence[int], left: Collection[int], flags: str
) -> None:
    """From the first line that was not settled, without those behind it that were."""
    assert given.after(request_lines, left).flags == flags


def test_a_continued_run_sends_exactly_what_was_left() -> None:
    """Read back from its own flags."""
    left = Selection("r").after([1, 2, 3, 4, 5, 6], {2, 5})
    again = Selection("r", left.first, parse_ranges(left.flags.rsplit(" ", 1)[1]))
    assert [number for number in range(1, 10) if again.keeps(number)] == [2, 5, 7, 8, 9]


@pytest.mark.parametrize("text", ["", "x", "3-", "-3", "5-4", "1,,2"])
def test_what_is_not_a_range_is_refused(text: str) -> None:
    """With how to write it."""
    with pytest.raises(CommandError, match="--skip-lines"):
        parse_ranges(text)


@pytest.mark.parametrize("run", ["", "a b", "x" * 41])
def test_a_run_has_a_name_that_an_id_can_hold(run: str) -> None:
    """A line's id is made of it."""
    with pytest.raises(CommandError, match="--run"):
        Selection(run)
