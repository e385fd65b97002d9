from dataclasses import replace

import pytest

from chaski_console.data.search import InvalidSearchError, Search, read_search
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from support.dead_letters.builder import a_dead_letter

NOW = 1_800_000_000_000
HOUR = 3_600_000


def dead_letter(at: int) -> DeadLetter:
    """A dead letter with this time."""
    return a_dead_letter(dead_lettered_at=at)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, DeadLetterFilter(since=NOW - 24 * HOUR)),
        ({"window": "1h"}, DeadLetterFilter(since=NOW - HOUR)),
        ({"window": "all"}, DeadLetterFilter()),
        ({"window": "1h", "since": "2h"}, DeadLetterFilter(since=NOW - 2 * HOUR)),
        ({"until": "2h"}, DeadLetterFilter(until=NOW - 2 * HOUR)),
        (
            {"window": "all", "route": "n/r", "subject": " s ", "target": "t", "class": "4xx", "text": "w"},
            DeadLetterFilter(route="n/r", subject="s", target="t", error_class="4xx", text="w"),
        ),
    ],
    ids=["nothing", "window", "all", "from", "to", "fields"],
)
def test_a_form_becomes_a_filter(parameters: dict[str, str], expected: DeadLetterFilter) -> None:
    """For stores."""
    assert read_search(parameters).filter(NOW) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"window": "2y"},
        {"since": "yesterday"},
        {"after": "x"},
        {"after": "1"},
        {"text": "x" * 1_025},
        {"after": "9" * 40},
    ],
    ids=["window", "time", "page", "half-a-page", "long", "long-page"],
)
def test_an_invalid_search_is_rejected(parameters: dict[str, str]) -> None:
    """With an error that the page can show."""
    with pytest.raises(InvalidSearchError):
        read_search(parameters).filter(NOW)


def test_a_query_string_round_trips() -> None:
    """It holds all fields."""
    from urllib.parse import parse_qsl  # noqa: PLC0415 - only here

    search = Search(window="7d", subject="a&b=c ü", error_class="5xx", after="5.2")
    assert read_search(dict(parse_qsl(search.query()))) == search


@pytest.mark.parametrize(
    ("search", "flags"),
    [
        (Search(), ["--since", "24h"]),
        (Search(window="all"), ["--all"]),
        (Search(window="all", route="team-01/orders"), ["--route", "team-01/orders"]),
        (Search(until="2h"), ["--until", "2h"]),
        (Search(window="1h", since="3h"), ["--since", "3h"]),
        (
            Search(window="all", subject="a b", target="t", error_class="5xx", text="w"),
            ["--subject", "a b", "--target", "t", "--class", "5xx", "--text", "w"],
        ),
    ],
    ids=["window", "all", "route", "to", "from", "fields"],
)
def test_a_search_becomes_flags_of_the_command(search: Search, flags: list[str]) -> None:
    """So that everything it finds can be replayed at once."""
    assert search.flags() == flags


def test_the_next_page_continues_after_this_one() -> None:
    """Even if many have the same millisecond."""
    first = Search(window="all").next_page([dead_letter(1), dead_letter(2), dead_letter(2)])
    assert (first.page_start_ms, first.skipped) == (2, 2)
    assert first.filter(NOW).since == 2
    second = first.next_page([dead_letter(2), dead_letter(2)])
    assert (second.page_start_ms, second.skipped) == (2, 4)
    assert second.next_page([dead_letter(2), dead_letter(3)]).after == "3.1"


def test_a_page_never_begins_before_the_window() -> None:
    """The later of both times counts."""
    assert replace(Search(window="1h"), after=f"{NOW - 2 * HOUR}.1").filter(NOW).since == NOW - HOUR
