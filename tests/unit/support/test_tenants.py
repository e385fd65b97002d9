"""The list of actions of one tenant against another."""

from collections import Counter

from support.tenants.action import Kind, Means
from support.tenants.table import ACTIONS, PAGE, page


def test_the_documentation_has_the_actions_that_are_tried() -> None:
    """`python -m support.tenants.table`, in `tests`, writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_at_least_forty_actions_are_tried() -> None:
    """Of each kind, by each means, and none twice; what a control gives is never what the attempt gives."""
    assert len(ACTIONS) >= 40
    assert {action.kind for action in ACTIONS} == set(Kind)
    assert {action.means for action in ACTIONS} == set(Means)
    assert [text for text, number in Counter((each.kind, each.text) for each in ACTIONS).items() if number > 1] == []
    assert [action.text for action in ACTIONS if action.refusal == action.permitted] == []
