import pytest

from chaski_console.data.live_updates import StatusUpdate
from chaski_console.data.views import QueueView
from chaski_console.pages.layout import ANONYMOUS
from chaski_console.pages.routes import chart_path, element_values, routes_page, routes_view
from chaski_core.ports import QueueCounts
from unit.console.fakes import route_view


def test_a_chart_has_gaps_for_unknown_values() -> None:
    """Two lines instead of one; the newest value is at the right edge."""
    path = chart_path([1, 2, None, 4])
    assert path.count("M") == 2
    assert path.endswith("300.0 3.0")
    assert chart_path([]) == "M0 0"
    assert chart_path([None]) == "M0 0"
    assert chart_path([1, 2], filled=True).endswith("44Z")


@pytest.mark.promise(8)
@pytest.mark.parametrize("stale_reason", [None, "the API server is unavailable"])
def test_an_unknown_list_of_routes_is_not_shown_as_empty(stale_reason: str | None) -> None:
    """Only a current list may be called empty."""
    page = routes_page(StatusUpdate((), {}, stale_reason), ANONYMOUS)
    assert ("no routes" in page) is (stale_reason is None)


@pytest.mark.promise(8)
@pytest.mark.parametrize(
    ("counts", "age", "shown"),
    [
        (QueueCounts(0, 0, 0), 0.0, "none"),
        (QueueCounts(0, 0, 0), None, "none"),
        (QueueCounts(1, 0, 0), None, "\u2013"),
        (QueueCounts(0, 0, 1), 90.0, "2 min"),
        (None, None, "\u2013"),
    ],
    ids=["age-of-none", "none", "unknown-age", "known", "unknown-counts"],
)
def test_the_oldest_of_no_messages_is_neither_new_nor_unknown(
    counts: QueueCounts | None, age: float | None, shown: str
) -> None:
    """On the card and in the row of its queue; a dash means unknown."""
    view = route_view(queues=(QueueView("messages", counts, age),), rungs=())
    values = element_values(routes_view(StatusUpdate((view,), {})))
    assert (values["n/r oldest"], values["n/r messages oldest"]) == (shown, shown)


def test_an_old_age_without_messages_is_not_highlighted() -> None:
    """Prometheus may report the age of a message that was just delivered."""
    empty = QueueView("messages", QueueCounts(0, 0, 0), 900.0)
    view = route_view(queues=(empty,), rungs=())
    assert element_values(routes_view(StatusUpdate((view,), {})))["n/r oldest!"] == ""
