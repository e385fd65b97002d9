import logging
import os
import sys
from dataclasses import replace
from typing import Any

import pytest

from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_runtime.observability.log_fields import Attempt, attempt_fields, record_fields

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


@pytest.mark.promise(13)
def test_a_delivered_attempt_says_which_message_went_where_and_how_long_it_took() -> None:
    """In ECS names; the query is left out, since secrets are put there."""
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
def test_a_failed_attempt_says_why_and_what_comes_next() -> None:
    """The error's most specific name, and the message's next home."""
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
    """What can't be split is left out."""
    fields: dict[str, Any] = attempt_fields(replace(DELIVERED, url=url), 0)
    names = ("url.scheme", "url.domain", "url.port", "url.path")
    if expected is None:
        assert not any(name in fields for name in names)
    else:
        assert tuple(fields[name] for name in names) == expected
    assert not any("pw" in str(value) for value in fields.values())


def test_an_attempt_that_was_not_made_has_no_status() -> None:
    """A refusal and a timeout have none."""
    refused = replace(FAILED, outcome=Outcome(ErrorClass.REFUSED, None, "no rule"), traceparent=None, next="")
    fields = attempt_fields(refused, 0)
    assert fields["message"] == "refused: no rule"
    assert not {"http.response.status_code", "trace.id", "chaski.next"} & set(fields)


def test_a_record_of_pythons_logging_keeps_its_message_logger_and_own_fields() -> None:
    """`extra={"ecs": …}` adds fields."""
    record = logging.LogRecord("chaski.x", logging.WARNING, "f", 1, "%d apples", (3,), None)
    record.ecs = {"event.action": "count"}
    fields = record_fields(record)
    assert fields["message"] == "3 apples"
    assert (fields["log.level"], fields["log.logger"], fields["event.action"]) == ("warn", "chaski.x", "count")


def test_a_record_with_an_exception_has_its_type_message_and_trace() -> None:
    """In the three ECS fields for it."""
    try:
        os.environ["CHASKI_GONE"]
    except KeyError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oops", (), sys.exc_info())
    fields = record_fields(record)
    assert (fields["error.type"], fields["error.message"]) == ("KeyError", "'CHASKI_GONE'")
    assert fields["error.stack_trace"].startswith("Traceback")
