from typing import Any

import pytest

from chaski_console.data.views import History
from chaski_console.pages.message import history_view
from unit.console.fakes import attempt

CASES: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"outcome": "delivered"}, ("200", "good", "")),
    ({}, ("404", "warn", "HTTP 404")),
    ({"status": 503, "error_class": "503"}, ("503", "bad", "HTTP 404")),
    ({"status": None, "error_class": "timeout", "detail": "10 s"}, ("timeout", "bad", "10 s")),
    ({"status": None, "error_class": "", "outcome": "unknown", "detail": ""}, ("unknown", "", "")),
]


@pytest.mark.parametrize(("changes", "expected"), CASES, ids=["delivered", "4xx", "5xx", "timeout", "no-class"])
def test_an_attempt_is_named_by_its_status_or_its_error(
    changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    """Coloured by the error class; the detail of a delivered one is not shown."""
    history = History("m-1", "m-1", "s", "pending", (attempt(1, **changes),))
    (view,) = history_view(history, has_dead_letter=False).attempts
    assert (view.result.label, view.result.colour, view.detail) == expected


def test_bars_are_relative_to_the_longest_attempt() -> None:
    """Of the message; one without any duration has no bar of a length of zero."""
    long = History("m-1", "m-1", "s", "pending", (attempt(1, duration_ms=1_250.4), attempt(2, duration_ms=30.0)))
    bars = [(each.milliseconds, each.longest, each.took) for each in history_view(long, has_dead_letter=False).attempts]
    assert bars == [("1250", "1250", "1,250 ms"), ("30", "1250", "30 ms")]
    (only,) = history_view(
        History("m-1", "m-1", "s", "pending", (attempt(1, duration_ms=0.0),)), has_dead_letter=False
    ).attempts
    assert (only.milliseconds, only.longest) == ("0", "1")


def test_the_link_to_a_dead_letter_has_any_id_in_one_segment() -> None:
    """Producers choose ids."""
    history = History("m/1 ?", "m-1", "s", "dead-lettered", ())
    assert history_view(history, has_dead_letter=True).dead_letter_path == "/dead-letters/m%2F1%20%3F"
    assert history_view(history, has_dead_letter=False).dead_letter_path == ""
