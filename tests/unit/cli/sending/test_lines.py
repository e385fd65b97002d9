"""What becomes of the lines of an NDJSON file."""

from typing import Any

import orjson
import pytest

from chaski_cli.sending.lines import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_LINES,
    MAX_MESSAGE_BYTES,
    Line,
    Rejected,
    chunks,
    explain,
    judge,
    prepare,
)

ACCEPTED = {"status": 202}
AWAY = {"status": 503, "title": "the queue is away"}
WRONG = {"status": 400, "errors": [{"field": "body.url", "message": "is no text"}]}


def an_id() -> str:
    """A fixed id."""
    return "made"


def lines(*subjects: str) -> list[Line]:
    """One line of each subject."""
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
def test_every_line_carries_an_id(data: bytes, expected: bytes) -> None:
    """A line can then be sent twice and is still one message."""
    line = prepare(1, data, an_id)
    assert isinstance(line, Line)
    assert line.data == expected
    assert orjson.loads(line.data)["id"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b'{"subject": ', 400, id="broken JSON"),
        pytest.param(b'"text"', 400, id="no object"),
        pytest.param(b'{"x":"' + b"a" * MAX_MESSAGE_BYTES + b'"}', 413, id="too long"),
    ],
)
def test_what_can_never_be_accepted_is_not_sent(data: bytes, status: int) -> None:
    """It is rejected with its line number and the status that ingest would give."""
    rejected = prepare(7, data, an_id)
    assert isinstance(rejected, Rejected)
    assert (rejected.number, rejected.status) == (7, status)


def test_requests_are_cut_by_lines_and_by_bytes() -> None:
    """No request is longer than what ingest takes, and no line is lost or moved."""
    many = [Line(number, "s", b"x" * 10) for number in range(MAX_CHUNK_LINES + 1)]
    long = [Line(number, "s", b"x" * (MAX_CHUNK_BYTES // 3)) for number in range(4)]
    cut = list(chunks([*many, *long]))
    assert [line for chunk in cut for line in chunk] == [*many, *long]
    assert all(len(chunk) <= MAX_CHUNK_LINES for chunk in cut)
    assert all(sum(len(line.data) + 1 for line in chunk) <= MAX_CHUNK_BYTES for chunk in cut)


@pytest.mark.parametrize(
    ("results", "accepted", "rejected", "again"),
    [
        pytest.param([ACCEPTED, ACCEPTED, ACCEPTED], [1, 2, 3], [], [], id="all accepted"),
        pytest.param([ACCEPTED, WRONG, ACCEPTED], [1, 3], [2], [], id="a wrong line is not sent again"),
        pytest.param([AWAY, ACCEPTED, AWAY], [2], [], [1, 3], id="what was not taken goes again, in order"),
        pytest.param([AWAY, AWAY, ACCEPTED], [3], [1], [2], id="not if a later one of its subject was taken"),
        pytest.param([{}, ACCEPTED, ACCEPTED], [2, 3], [1], [], id="an answer without a status is no acceptance"),
    ],
)
def test_lines_are_judged_on_their_own_but_never_reordered(
    results: list[dict[str, Any]], accepted: list[int], rejected: list[int], again: list[int]
) -> None:
    """Lines 1 and 3 are of one subject: sending 1 again after 3 was accepted would break its order."""
    judged = judge(lines("a", "b", "a"), results)
    assert [line.number for line in judged.accepted] == accepted
    assert [line.number for line in judged.rejected] == rejected
    assert [line.number for line in judged.again] == again


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        pytest.param(WRONG, "body.url: is no text", id="field and message"),
        pytest.param({"title": "t", "detail": "d"}, "d", id="detail"),
        pytest.param({"title": "t"}, "t", id="title"),
        pytest.param({"errors": ["odd"]}, "odd", id="an error that is no object"),
        pytest.param({}, "no reason given", id="nothing"),
    ],
)
def test_a_problem_is_told_in_one_line(problem: dict[str, Any], text: str) -> None:
    """Fields come first, for that is what a producer mends."""
    assert explain(problem) == text
