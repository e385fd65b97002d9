"""Log lines of attempts: their fields, and lines from pieces that equal lines rendered field by field."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_runtime.observability.line_writer import LineWriter
from chaski_runtime.observability.logs import Format, Logs, console_renderer, json_renderer
from chaski_worker.observability.attempt_log import Attempt, AttemptLog, DeliveredLines, attempt_fields

DELIVERED = Attempt(
    namespace="helpdesk",
    route="conversations",
    queue="messages",
    stage="first",
    number=1,
    message_id="id-1",
    id="label-1",
    subject="pc_send_88_519",
    method="POST",
    url="https://api.example/hooks/1?token=secret",
    outcome=Outcome(None, 200, target="helpdesk", duration_seconds=0.0123),
    traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
)
FAILED = replace(
    DELIVERED,
    stage="retry",
    number=3,
    outcome=Outcome(ErrorClass.SERVER_ERROR, 503, "503 Service Unavailable", "busy", "helpdesk", duration_seconds=1),
    next="rung medium in 60 s",
)


_RENDER = json_renderer("chaski-worker")
_LINES = DeliveredLines(_RENDER)
_TRACES = st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True)
_URLS = ["https://a.example/x?token=secret", "http://b.example:8080/y", "HTTPS://C.example", "http://[::1]:5/z#f"]


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file to log to."""
    opened = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def written(descriptor: int, *attempts: Attempt, format_: Format = "json", level: int = logging.INFO) -> list[bytes]:
    """The lines of attempts that were logged to the file."""
    render = _RENDER if format_ == "json" else console_renderer(colour=False)
    logs = Logs(LineWriter(descriptor, drop_line=lambda _: b""), render, level, format=format_)
    for attempt in attempts:
        AttemptLog(logs).write(attempt)
    logs.close()
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 1 << 20).splitlines()


@pytest.mark.promise(13)
def test_an_attempt_is_one_json_line_that_names_the_service(descriptor: int) -> None:
    """With a time of its own; a text that UTF-8 can't encode is escaped."""
    lines = [
        orjson.loads(line) for line in written(descriptor, DELIVERED, FAILED, replace(DELIVERED, subject="\ud800"))
    ]
    assert [line["chaski.message.id"] for line in lines] == ["id-1", "id-1", "id-1"]
    assert lines[2]["chaski.subject"] == "\\ud800"
    assert {line["service.name"] for line in lines} == {"chaski-worker"}
    assert all(line["@timestamp"] > "2026" for line in lines)


def test_a_level_above_info_excludes_delivered_attempts(descriptor: int) -> None:
    """Failed ones are warnings."""
    (line,) = written(descriptor, DELIVERED, FAILED, level=logging.WARNING)
    assert orjson.loads(line)["chaski.attempt.outcome"] == "failed"


def test_the_console_format_shows_subject_target_and_outcome(descriptor: int) -> None:
    """And the number, duration and id of the attempt."""
    (attempt,) = written(descriptor, FAILED, format_="console")
    assert b"WARN  pc_send_88_519 -> helpdesk: failed with 503" in attempt
    assert attempt.endswith(b"(attempt 3, 1000 ms, id id-1)")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_subject_can_break_a_line_in_two(descriptor: int, format_: Format) -> None:
    """A producer chooses subjects; a log line is one line whatever they contain."""
    (line,) = written(descriptor, replace(DELIVERED, subject="a\nb\r\x1b[31mred\x00"), format_=format_)
    assert b"\x1b" not in line
    assert b"\x00" not in line


@pytest.mark.promise(13)
def test_the_line_of_a_delivered_attempt_has_message_target_and_duration() -> None:
    """In ECS names, without the query, because queries may contain secrets."""
    assert attempt_fields(DELIVERED, 1_795_500_000_123) == {
        "@timestamp": "2026-11-24T06:00:00.123Z",
        "log.level": "info",
        "message": "delivered",
        "ecs.version": "8.17.0",
        "event.action": "delivery",
        "event.category": ["web"],
        "event.outcome": "success",
        "event.duration": 12_300_000,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.domain": "api.example",
        "url.port": 443,
        "url.path": "/hooks/1",
        "labels.namespace": "helpdesk",
        "labels.route": "conversations",
        "labels.queue": "messages",
        "labels.target": "helpdesk",
        "trace.id": "a" * 32,
        "chaski.message.id": "id-1",
        "chaski.id": "label-1",
        "chaski.subject": "pc_send_88_519",
        "chaski.attempt.number": 1,
        "chaski.attempt.stage": "first",
        "chaski.attempt.outcome": "delivered",
    }


@pytest.mark.promise(13)
def test_the_line_of_a_failed_attempt_has_its_error_and_the_next_step() -> None:
    """The error's most specific name, and where the message goes."""
    fields = attempt_fields(FAILED, 0)
    expected = {
        "log.level": "warn",
        "message": "failed with 503: 503 Service Unavailable; rung medium in 60 s",
        "event.outcome": "failure",
        "http.response.status_code": 503,
        "error.type": "503",
        "error.message": "503 Service Unavailable",
        "chaski.attempt.number": 3,
        "chaski.attempt.stage": "retry",
        "chaski.attempt.outcome": "failed",
        "chaski.next": "rung medium in 60 s",
    }
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", ("http", "h", 80, "")),
        ("http://h:8080?x=/y", ("http", "h", 8080, "")),
        ("https://h/a/b#c", ("https", "h", 443, "/a/b")),
        ("HTTPS://User:pw@Host.Example/a", ("https", "host.example", 443, "/a")),
        ("http://[::1]:9/x?y", ("http", "::1", 9, "/x")),
        ("http://bücher.example/ä", ("http", "bücher.example", 80, "/ä")),
        ("http://User@h:99999/", None),
        ("http://[", None),
    ],
)
def test_a_url_is_split_into_its_parts_without_query_and_secrets(
    url: str, expected: tuple[str, str, int, str] | None
) -> None:
    """A URL that can't be parsed is left out."""
    fields: dict[str, Any] = attempt_fields(replace(DELIVERED, url=url), 0)
    names = ("url.scheme", "url.domain", "url.port", "url.path")
    if expected is None:
        assert not any(name in fields for name in names)
    else:
        assert tuple(fields[name] for name in names) == expected
    assert not any("pw" in str(value) for value in fields.values())


def test_the_line_of_an_attempt_without_response_has_no_status() -> None:
    """A refusal and a timeout have none."""
    refused = replace(FAILED, outcome=Outcome(ErrorClass.REFUSED, None, "no rule"), traceparent=None, next="")
    fields = attempt_fields(refused, 0)
    assert fields["message"] == "refused: no rule"
    assert not {"http.response.status_code", "trace.id", "chaski.next"} & set(fields)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(_URLS),
    st.floats(0, 120),
    _TRACES,
    st.integers(0, 4_000_000_000_000),
)
def test_lines_from_pieces_equal_lines_rendered_field_by_field(  # noqa: PLR0917 - what differs between lines
    subject: str, message_id: str, label: str, url: str, seconds: float, trace: str | None, now_ms: int
) -> None:
    """For any values of the fields that differ."""
    attempt = replace(
        DELIVERED,
        subject=subject,
        message_id=message_id,
        id=label,
        url=url,
        outcome=replace(DELIVERED.outcome, duration_seconds=seconds),
        traceparent=trace,
    )
    assert _LINES.line(attempt, now_ms) == _RENDER(attempt_fields(attempt, now_ms))


@pytest.mark.parametrize(
    "attempt",
    [
        replace(DELIVERED, queue="others"),
        replace(DELIVERED, stage="retry", number=12),
        replace(DELIVERED, method="DELETE"),
        replace(DELIVERED, namespace="n", route="r"),
        replace(DELIVERED, outcome=Outcome(None, 204, target="other", duration_seconds=0.5)),
    ],
)
def test_kinds_of_lines_are_kept_apart(attempt: Attempt) -> None:
    """After a line of another kind."""
    assert _LINES.line(DELIVERED, 1) == _RENDER(attempt_fields(DELIVERED, 1))
    assert _LINES.line(attempt, 1) == _RENDER(attempt_fields(attempt, 1))


def test_the_number_of_remembered_kinds_is_bounded() -> None:
    """Lines of a forgotten kind are the same as before."""
    lines = DeliveredLines(_RENDER)
    for number in range(1_000):
        attempt = replace(DELIVERED, number=number)
        assert lines.line(attempt, 1) == _RENDER(attempt_fields(attempt, 1))
        assert len(lines._pieces) <= 256


def test_other_attempts_are_rendered_field_by_field() -> None:
    """Failures, shown contents, URLs that can't be parsed; a text that UTF-8 can't encode is an error."""
    assert _LINES.line(FAILED, 1) is None
    assert _LINES.line(replace(DELIVERED, content="a word"), 1) is None
    assert _LINES.line(replace(DELIVERED, url="http://[nowhere"), 1) is None
    with pytest.raises(orjson.JSONEncodeError):
        _LINES.line(replace(DELIVERED, subject="\ud800"), 1)
