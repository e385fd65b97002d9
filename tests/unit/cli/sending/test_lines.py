"""Lines of an NDJSON file: ids, requests, results, and which are left to resume."""

from collections.abc import Collection, Sequence
from typing import Any

import orjson
import pytest

from chaski_cli.sending.lines import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_LINES,
    Line,
    Rejected,
    Selection,
    chunk_result,
    chunks,
    parse_ranges,
    prepare,
)
from chaski_client.responses import Response, explain, settle
from chaski_core.ports import MAX_MESSAGE_BYTES
from chaski_runtime.process.command_error import CommandError

ACCEPTED = {"status": 202}
UNAVAILABLE = {"status": 503, "title": "queue unavailable"}
WRONG = {"status": 400, "errors": [{"field": "body.url", "message": "not text"}]}


def an_id() -> str:
    """A fixed id."""
    return "made"


def lines(*subjects: str) -> list[Line]:
    """One line per subject."""
    return [Line(number, subject, b"{}") for number, subject in enumerate(subjects, start=1)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b'{"subject":"s"}\n', b'{"id":"made","subject":"s"}', id="gets an id"),
        pytest.param(b'{ "subject": "s" , "n": 1.0}', b'{"id":"made","subject": "s" , "n": 1.0}', id="bytes stay"),
        pytest.param(b"{ }", b'{"id":"made"}', id="an empty object"),
        pytest.param(b'{"id":"own","subject":"s"}', b'{"id":"own","subject":"s"}', id="keeps its own id"),
    ],
)
def test_every_line_has_an_id(data: bytes, expected: bytes) -> None:
    """A line that is sent twice is then one message."""
    line = prepare(1, data, an_id)
    assert isinstance(line, Line)
    assert line.data == expected
    assert orjson.loads(line.data)["id"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b'{"subject": ', 400, id="broken JSON"),
        pytest.param(b'"text"', 400, id="not an object"),
        pytest.param(b'{"x":"' + b"a" * MAX_MESSAGE_BYTES + b'"}', 413, id="too long"),
    ],
)
def test_lines_that_ingest_never_accepts_are_not_sent(data: bytes, status: int) -> None:
    """They are rejected with their number and the status that ingest would return."""
    rejected = prepare(7, data, an_id)
    assert isinstance(rejected, Rejected)
    assert (rejected.number, rejected.status) == (7, status)


def test_requests_are_cut_by_lines_and_by_bytes() -> None:
    """No request exceeds ingest's limits, and no line is lost or moved."""
    many = [Line(number, "s", b"x" * 10) for number in range(MAX_CHUNK_LINES + 1)]
    long = [Line(number, "s", b"x" * (MAX_CHUNK_BYTES // 3)) for number in range(4)]
    cut = list(chunks([*many, *long]))
    assert [line for chunk in cut for line in chunk] == [*many, *long]
    assert all(len(chunk) <= MAX_CHUNK_LINES for chunk in cut)
    assert all(sum(len(line.data) + 1 for line in chunk) <= MAX_CHUNK_BYTES for chunk in cut)


@pytest.mark.parametrize(
    ("results", "accepted", "rejected", "unsettled"),
    [
        pytest.param([ACCEPTED, ACCEPTED, ACCEPTED], [1, 2, 3], [], [], id="all accepted"),
        pytest.param([ACCEPTED, WRONG, ACCEPTED], [1, 3], [2], [], id="a rejected line is not retried"),
        pytest.param([UNAVAILABLE, ACCEPTED, UNAVAILABLE], [2], [], [1, 3], id="unsettled lines are retried, in order"),
        pytest.param(
            [UNAVAILABLE, UNAVAILABLE, ACCEPTED], [3], [1], [2], id="not if a later one of its subject was accepted"
        ),
        pytest.param([{}, ACCEPTED, ACCEPTED], [2, 3], [1], [], id="a result without a status is a rejection"),
    ],
)
def test_lines_are_sorted_by_result_but_never_reordered(
    results: list[dict[str, Any]], accepted: list[int], rejected: list[int], unsettled: list[int]
) -> None:
    """Lines 1 and 3 have the same subject: a retry of 1 after 3 was accepted would break its order."""
    result = chunk_result(settle(lines("a", "b", "a"), results))
    assert [each.line.number for each in result.accepted] == accepted
    assert [line.number for line in result.rejected] == rejected
    assert [line.number for line in result.unsettled] == unsettled


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        pytest.param(WRONG, "body.url: not text", id="field and message"),
        pytest.param({"title": "t", "detail": "d"}, "d", id="detail"),
        pytest.param({"title": "t"}, "t", id="title"),
        pytest.param({"errors": ["odd"]}, "odd", id="an error that is not an object"),
        pytest.param({}, "no reason given", id="nothing"),
    ],
)
def test_a_problem_is_one_line(problem: dict[str, Any], text: str) -> None:
    """Errors by field take precedence: a producer corrects these."""
    assert explain(problem) == text


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
def test_unsettled_lines_are_named_by_number(
    given: Selection, request_lines: Sequence[int], left: Collection[int], flags: str
) -> None:
    """From the first unsettled line, without later settled ones."""
    assert given.after(request_lines, left).flags == flags


def test_a_resumed_run_sends_exactly_the_unsettled_lines() -> None:
    """Parsed from its own flags."""
    left = Selection("r").after([1, 2, 3, 4, 5, 6], {2, 5})
    again = Selection("r", left.first, parse_ranges(left.flags.rsplit(" ", 1)[1]))
    assert [number for number in range(1, 10) if again.keeps(number)] == [2, 5, 7, 8, 9]


@pytest.mark.parametrize("text", ["", "x", "3-", "-3", "5-4", "1,,2"])
def test_an_invalid_range_is_refused(text: str) -> None:
    """The error names the flag."""
    with pytest.raises(CommandError, match="--skip-lines"):
        parse_ranges(text)


@pytest.mark.parametrize("run", ["", "a b", "x" * 41])
def test_the_name_of_a_run_is_valid_in_ids(run: str) -> None:
    """Ids of lines derive from it."""
    with pytest.raises(CommandError, match="--run"):
        Selection(run)


@pytest.mark.parametrize(
    ("status", "repeated"),
    [(400, False), (401, False), (403, False), (408, True), (413, False), (429, True), (500, True), (503, True)],
)
def test_a_request_is_repeated_where_it_may_be_accepted_later(status: int, repeated: bool) -> None:
    """Also after 408: its body did not arrive in time, which says nothing about the message (RFC 9110 §15.5.9)."""
    assert Response(status, b"", 0.0).may_repeat == repeated
