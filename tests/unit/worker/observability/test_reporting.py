"""The metrics of settled messages, in virtual time: delivered, dead-lettered, and by origin; the log lines of attempts."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.route.model import Ordering
from chaski_runtime.observability.line_writer import LineWriter
from chaski_runtime.observability.logs import Format, Logs, console_renderer, json_renderer
from chaski_worker.observability.reporting import AttemptReport, attempt_fields, journal_entry, origin_of, write_line
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import unavailable

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
SETTLED = "chaski_messages_settled_total"
DELIVERED = AttemptReport(
    namespace="helpdesk",
    route="conversations",
    queue="messages",
    stage="first",
    number=1,
    started_at=1_795_500_000_000,
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


@BOTH
@pytest.mark.looptime
@pytest.mark.promise(13)
async def test_every_accepted_message_is_settled_once(ordering: Ordering) -> None:
    """As delivered or dead-lettered, whatever retries it had."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda _s, number, _a: 404 if number % 4 == 0 else 200))
    for number in range(20):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, SETTLED, origin="ingest", end="delivered") == 15
    assert value(harness.metrics, SETTLED, origin="ingest", end="dead_lettered") == 5
    assert value(harness.metrics, SETTLED) == 20


@pytest.mark.looptime
async def test_messages_that_ingest_did_not_accept_have_another_origin() -> None:
    """A replay, and a message that another program sent to the queue."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    document = {"subject": "s", "body": {"url": "http://t0.example/"}}
    replayed = write_envelope(document, Metadata(id="s-1", accepted_at=1, epoch=1))
    foreign = write_envelope(document, Metadata(id="s-2"))
    await harness.put("mem://p0", replayed, "s", "k1")
    await harness.put("mem://p0", foreign, "s", "k2")
    await harness.put("mem://p0", b"nonsense", "s", "k3")
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, SETTLED, origin="replay", end="delivered") == 1
    assert value(harness.metrics, SETTLED, origin="other", end="delivered") == 1
    assert value(harness.metrics, SETTLED, origin="other", end="dead_lettered") == 1
    assert value(harness.metrics, SETTLED, origin="ingest") == 0
    assert value(harness.metrics, "chaski_message_latency_seconds_count") == 0


@pytest.mark.looptime
async def test_latency_counts_from_the_acceptance_over_all_retries() -> None:
    """Two failures on a rung of 5 s: more than ten seconds."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda _s, _n, attempt: 500 if attempt < 3 else 200))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, "chaski_message_latency_seconds_count", queue="messages") == 1
    assert 10 <= value(harness.metrics, "chaski_message_latency_seconds_sum", queue="messages") < 30


@BOTH
@pytest.mark.looptime
async def test_failed_writes_to_the_store_are_counted_and_retried(ordering: Ordering) -> None:
    """The message waits, and an alert uses the counter."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 302))
    refusals = iter(["put"] * 3)

    def refuse(action: str) -> None:
        if action == "put" and next(refusals, None):
            raise unavailable()

    harness.backend.faults.before = refuse
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, "chaski_handover_failures_total", to="dead_letters") == 3
    assert value(harness.metrics, SETTLED, end="dead_lettered") == 1


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        (None, "other"),
        (Metadata(id="a"), "other"),
        (Metadata(id="a", accepted_at=1), "ingest"),
        (Metadata(id="a", accepted_at=1, epoch=2), "replay"),
    ],
    ids=["none", "not-accepted", "accepted", "replayed"],
)
def test_the_origin_of_a_message_is_in_its_metadata(metadata: Metadata | None, origin: str) -> None:
    """Nothing else is stored for it."""
    assert origin_of(metadata) == origin


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file to log to."""
    opened = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def written(
    descriptor: int, *attempts: AttemptReport, format_: Format = "json", level: int = logging.INFO
) -> list[bytes]:
    """The lines of attempts that were logged to the file."""
    render = _RENDER if format_ == "json" else console_renderer(colour=False)
    logs = Logs(LineWriter(descriptor, drop_line=lambda _: b""), render, level)
    for attempt in attempts:
        write_line(logs, attempt)
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


@pytest.mark.promise(13)
def test_a_line_has_the_fields_of_its_attempt_and_the_service(descriptor: int) -> None:
    """Also those that many attempts share, which are written as JSON once; whatever a producer put into its URL."""
    attempts = [
        *(replace(DELIVERED, url=url) for url in ("https://h/a", 'http://h:8080/"b\\?x', "http://[", "https://h/a")),
        replace(DELIVERED, url="https://h/\ud800"),
        replace(FAILED, content="{}"),
    ]
    for attempt, line in zip(attempts, written(descriptor, *attempts), strict=True):
        fields = orjson.loads(line)
        time, version = fields.pop("@timestamp"), fields.pop("service.version")
        expected = attempt_fields(attempt, 0) | {"@timestamp": time, "service.name": "chaski-worker"}
        if "\ud800" in attempt.url:  # every value as a text, in ASCII
            expected = {
                name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in expected.items()
            }
        assert fields | {"@timestamp": time} == expected
        assert version


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


def test_a_journal_entry_and_a_line_of_one_attempt_agree() -> None:
    """Both are made of the same record."""
    entry, line = journal_entry(FAILED), attempt_fields(FAILED, 0)
    assert (entry.message_id, entry.id, entry.subject) == ("id-1", "label-1", "pc_send_88_519")
    assert (entry.route, entry.at, entry.duration_ms) == ("helpdesk/conversations", FAILED.started_at, 1_000)
    assert (entry.number, entry.stage, entry.outcome, entry.error_class, entry.status, entry.detail) == (
        line["chaski.attempt.number"],
        line["chaski.attempt.stage"],
        line["chaski.attempt.outcome"],
        line["error.type"],
        line["http.response.status_code"],
        line["error.message"],
    )
