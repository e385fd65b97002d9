import pytest

from chaski_console.data.live_updates import StatusUpdate
from chaski_console.pages.layout import ANONYMOUS
from chaski_console.pages.routes import chart_path, routes_page


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
