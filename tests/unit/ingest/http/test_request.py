"""The checks of a request's headers."""

import orjson
import pytest

from chaski_ingest.http.request import JSON, NDJSON, type_problem


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "Application/JSON; charset=UTF-8"},
        {"Content-Type": 'application/json; charset="utf-8"'},
        {"Content-Type": "application/json", "Content-Encoding": "identity"},
    ],
    ids=str,
)
def test_json_is_accepted_by_each_of_its_names(headers: dict[str, str]) -> None:
    """And without a Content-Type."""
    assert type_problem(headers, JSON) is None


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Content-Type": "text/plain"}, "text/plain"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 'send "application/json"'),
        ({"Content-Type": NDJSON}, NDJSON),
        ({"Content-Type": "application/json; charset=latin-1"}, "latin-1"),
        ({"Content-Encoding": "gzip"}, "gzip"),
        ({"Content-Type": "text/\udcff"}, "text/?"),
        ({"Content-Encoding": "\udcff"}, '"?"'),
        ({"Content-Type": "application/json; charset=\udcff"}, '"?"'),
    ],
    ids=str,
)
def test_any_other_body_type_is_refused_with_415(headers: dict[str, str], named: str) -> None:
    """The detail names what was sent or what to send."""
    problem = type_problem(headers, JSON)
    assert problem is not None
    assert problem.status == 415
    assert named in problem.detail
    assert orjson.dumps(problem.as_json())  # the bytes of a header that are not UTF-8 are left out
