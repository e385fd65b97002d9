"""What targets ask for with 429 and 503."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from chaski_worker.delivery.retry_after import retry_after_seconds

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT
LATER = "Mon, 21 Sep 2026 14:14:20 GMT"  # a minute


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "120"}, 120),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": LATER}, 60),
        ({"Retry-After": LATER, "Date": "Mon, 21 Sep 2026 14:14:00 GMT"}, 20),
        ({"Retry-After": "Mon, 21 Sep 2020 14:14:20 GMT"}, 0),
        ({"Retry-After": "1790000030"}, 30),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon", "RateLimit-Reset": "9"}, 0),
        ({"Retry-After": "1e9"}, 0),
        ({"Retry-After": "\u0661\u0662"}, 0),
        ({"RateLimit": '"default";r=0;t=45'}, 45),
        ({"RateLimit": "limit=10, remaining=0, reset=7"}, 0),
        ({"RateLimit-Reset": "7"}, 7),
        ({"X-RateLimit-Reset": "1790000012"}, 12),
        ({"X-RateLimit-Reset": "1780000000"}, 0),
        ({"Retry-After": "3", "X-RateLimit-Reset": "1790000012"}, 3),
    ],
)
def test_headers_that_ask_for_time(headers: Mapping[str, str], seconds: float) -> None:
    """Seconds, dates and Unix times; the first header that is there counts."""
    for status in (429, 503):
        assert retry_after_seconds(status, CIMultiDict(headers), NOW) == seconds
    assert retry_after_seconds(500, CIMultiDict(headers), NOW) == 0


@given(st.sampled_from(["Retry-After", "RateLimit", "RateLimit-Reset", "X-RateLimit-Reset", "Date"]), st.text())
def test_no_header_breaks_an_attempt(name: str, value: str) -> None:
    """Whatever a target sends, the wait is a number that is not negative."""
    headers = CIMultiDict({"Retry-After": LATER} | {name: value})
    assert retry_after_seconds(503, headers, NOW) >= 0
