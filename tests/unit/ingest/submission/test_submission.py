"""Validation of a message, and the message for the queue."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from chaski_core import json_codec
from chaski_core.message.envelope import Envelope, Metadata, http_request, read_envelope, write_envelope
from chaski_core.message.identity import generate_label
from chaski_core.message.traceparent import valid_traceparent
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, Rejection, Submission, key_error, validate
from unit.ingest.fakes import NOW

ORIGIN = Origin("helpdesk/conversations", NOW)
LIMITS = IngestSettings()
RANDOM = b"\x5a" * 10
GENERATED = generate_label(NOW, RANDOM)
BODY: dict[str, Any] = {"url": "https://api.example/hooks/1"}
MESSAGE: dict[str, Any] = {"subject": "pc_send_88_519", "body": BODY}


def accepted(document: dict[str, Any], origin: Origin = ORIGIN) -> Submission:
    """The submission of a valid message."""
    result = validate(json_codec.dumps(document), origin, RANDOM, LIMITS)
    assert isinstance(result, Submission), result
    return result


def errors(document: object) -> dict[str, str]:
    """The errors of a message, by field."""
    result = validate(json_codec.dumps(document), ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Rejection)
    assert result.problem.status == 400
    return {error.field: error.message for error in result.problem.errors}


def test_the_smallest_message_is_a_subject_and_a_url() -> None:
    """It gets a generated id, its subject as group, and metadata."""
    submission = accepted(MESSAGE)
    assert (submission.id, submission.subject) == (GENERATED, "pc_send_88_519")
    assert submission.message.group_id == "pc_send_88_519"
    assert submission.message.deduplication_id == f"{GENERATED}:first"
    envelope = read_envelope(submission.message.body)
    assert isinstance(envelope, Envelope)
    assert envelope.metadata is not None
    assert (envelope.metadata.id, envelope.metadata.route) == (GENERATED, "helpdesk/conversations")
    assert envelope.metadata.accepted_at == NOW


def deduplication(document: dict[str, Any], origin: Origin = ORIGIN) -> str:
    """The deduplication id under which a message is sent."""
    return accepted(document, origin).message.deduplication_id


SOME_SUBJECTS = Origin("helpdesk/conversations", NOW, "shop/orders", subjects=("order_*", "exact"))


@pytest.mark.parametrize("subject", ["order_", "order_7", "exact"])
def test_a_producer_may_send_the_subjects_of_its_patterns(subject: str) -> None:
    """One match is enough."""
    assert accepted(MESSAGE | {"subject": subject}, SOME_SUBJECTS).subject == subject


@pytest.mark.promise(14)
@pytest.mark.parametrize("subject", ["pc_send_88_519", "Order_7", "xorder_7", "exactly", "\uff4frder_7", "órder_7"])
def test_a_producer_may_send_no_other_subject(subject: str) -> None:
    """Subjects are compared by code points, without folding; the response names the route, not its patterns."""
    result = validate(json_codec.dumps(MESSAGE | {"subject": subject}), SOME_SUBJECTS, RANDOM, LIMITS)
    assert isinstance(result, Rejection)
    assert result.subject == subject
    assert (result.problem.status, result.problem.reason) == (403, "subject-denied")
    assert [each.field for each in result.problem.errors] == ["subject"]
    for part in ("shop/orders", '"helpdesk/conversations"', "spec.producers"):
        assert part in result.problem.detail
    assert "order_*" not in str(result.problem)


IDENTIFIED = MESSAGE | {"id": "invoice-4711"}
BILLING = Origin("helpdesk/conversations", NOW, "billing")
OTHER = Origin("helpdesk/conversations", NOW, "other")


@pytest.mark.promise(2)
@pytest.mark.promise(14)
def test_an_id_belongs_to_its_producer() -> None:
    """Another producer's message with the same id is another message, with the same label."""
    assert deduplication(IDENTIFIED, BILLING) != deduplication(IDENTIFIED, OTHER)
    assert accepted(IDENTIFIED, BILLING).id == accepted(IDENTIFIED, OTHER).id == "invoice-4711"


@pytest.mark.promise(2)
def test_an_id_with_another_body_is_another_message() -> None:
    """A repeat has the same body, in any order of its keys and at any time."""
    body = BODY | {"method": "PUT"}
    assert deduplication(IDENTIFIED | {"body": body}) != deduplication(IDENTIFIED)
    turned = {"body": dict(reversed(body.items())), "id": "invoice-4711", "subject": MESSAGE["subject"]}
    later = Origin("helpdesk/conversations", NOW + 60_000)
    assert deduplication(turned, later) == deduplication(IDENTIFIED | {"body": body})


@pytest.mark.promise(14)
def test_an_idempotency_key_belongs_to_its_producer() -> None:
    """The same key, subject and body of two producers are two messages."""
    billing, other = (replace(origin, idempotency_key="order-1") for origin in (BILLING, OTHER))
    assert deduplication(MESSAGE, billing) == deduplication(MESSAGE, billing)
    assert deduplication(MESSAGE, billing) != deduplication(MESSAGE, other)
    assert deduplication(MESSAGE | {"body": BODY | {"content": "x"}}, billing) != deduplication(MESSAGE, billing)
    assert accepted(MESSAGE, billing).id != accepted(MESSAGE, other).id


def test_without_an_id_every_request_is_a_message_of_its_own() -> None:
    """The generated label names it."""
    randoms = (RANDOM, b"\xa5" * 10)
    results = [validate(json_codec.dumps(MESSAGE), ORIGIN, random, LIMITS) for random in randoms]
    assert [each.message.deduplication_id for each in results if isinstance(each, Submission)] == [
        f"{generate_label(NOW, random)}:first" for random in randoms
    ]


@pytest.mark.promise(5)
def test_unknown_fields_are_kept_untouched() -> None:
    """Beside subject and body, and inside body."""
    document = MESSAGE | {"x-tenant": {"a": [1, None]}, "body": BODY | {"priority": 12345678901234567890123}}
    queued = json_codec.loads(accepted(document).message.body)
    metadata = queued.pop("metadata")
    assert queued == document
    assert set(metadata) == {"id", "route", "acceptedAt"}


@pytest.mark.parametrize(
    ("document", "field", "part"),
    [
        ([], "", "not a JSON object"),
        ({"body": BODY}, "subject", "is missing"),
        (MESSAGE | {"subject": 5}, "subject", "is a number"),
        (MESSAGE | {"subject": None}, "subject", "is null"),
        (MESSAGE | {"subject": ""}, "subject", "0 characters"),
        (MESSAGE | {"subject": "s" * 513}, "subject", "513 characters"),
        ({"subject": "s"}, "body", "is missing"),
        ({"subject": "s", "body": "x"}, "body", "is a string"),
        ({"subject": "s", "body": {}}, "body.url", "is missing"),
        ({"subject": "s", "body": {"url": 1}}, "body.url", "is a number"),
        ({"subject": "s", "body": {"url": "ftp://x/"}}, "body.url", "not absolute"),
        (MESSAGE | {"body": BODY | {"method": "TRACE"}}, "body.method", "TRACE"),
        (MESSAGE | {"body": BODY | {"method": ""}}, "body.method", "is not one of"),
        (MESSAGE | {"body": BODY | {"method": 1}}, "body.method", "is a number"),
        (MESSAGE | {"body": BODY | {"headers": []}}, "body.headers", "is a list"),
        (MESSAGE | {"body": BODY | {"headers": {"X-A": 1}}}, "body.headers.X-A", "is a number"),
        (MESSAGE | {"body": BODY | {"headers": {"X-A": "b\r\nc"}}}, "body.headers.X-A", "can't carry"),
        (MESSAGE | {"body": BODY | {"headers": {"Host": "x"}}}, "body.headers.Host", "can't be set"),
        (MESSAGE | {"body": BODY | {"headers": {"X-A": "1", "x-a": "2"}}}, "body.headers.x-a", "more than once"),
        (MESSAGE | {"body": BODY | {"contentEncoding": "gzip"}}, "body.contentEncoding", "is unknown"),
        (
            MESSAGE | {"body": BODY | {"contentEncoding": "base64", "content": {}}},
            "body.contentEncoding",
            "body.content is an object",
        ),
        (MESSAGE | {"body": BODY | {"contentEncoding": "base64", "content": "a"}}, "body.content", "not base64"),
        (MESSAGE | {"body": BODY | {"contentEncoding": "base64", "content": "ü"}}, "body.content", "not base64"),
        (MESSAGE | {"id": ""}, "id", "1 to 64"),
        (MESSAGE | {"id": "a b"}, "id", "1 to 64"),
        (MESSAGE | {"id": "a" * 65}, "id", "1 to 64"),
        (MESSAGE | {"id": 7}, "id", "1 to 64"),
        (MESSAGE | {"metadata": {}}, "metadata", "set by Chaski"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_error_names_its_field_and_the_reason(document: object, field: str, part: str) -> None:
    """So that a producer can fix the message by itself."""
    found = errors(document)
    assert part in found[field]


def test_every_error_is_listed_not_only_the_first() -> None:
    """One response is enough to fix a message."""
    body = {"url": "x", "method": "CONNECT", "headers": {"Host": "x", "X:": "y"}, "contentEncoding": "rot13"}
    found = errors({"subject": "", "id": "?", "metadata": 1, "body": body})
    assert set(found) == {
        "subject",
        "id",
        "metadata",
        "body.url",
        "body.method",
        "body.headers",
        "body.headers.Host",
        "body.contentEncoding",
    }


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"subject":"first","subject":"second","body":{"url":"https://a.example/"}}', "subject"),
        (b'{"subject":"a","body":{"url":"https://a.example/"},"body":{"url":"https://a.example/"}}', "body"),
        (b'{"subject":"a","body":{"url":"https://a.example/","content":[{"a":1, "a" :1}]}}', "body.content[0].a"),
    ],
)
def test_a_duplicate_key_is_refused_with_its_path(data: bytes, field: str) -> None:
    """JSON readers differ in which value they use."""
    result = validate(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Rejection)
    assert result.problem.status == 400
    assert [error.field for error in result.problem.errors] == [field]
    assert "duplicate" in result.problem.detail


@pytest.mark.promise(5)
@pytest.mark.parametrize("number", ["12345678901234567.89", "1.10", "1e2", "1e-400", "-0", "0.12345678901234567890123"])
def test_a_number_in_content_reaches_the_request_as_it_was_written(number: str) -> None:
    """Through the queue, and through a hop to a rung."""
    content = '{"amount":%s,"list":[%s]}' % (number, number)  # noqa: UP031 - braces
    data = f'{{"subject": "a", "body": {{"url": "https://a.example/", "content": {content}}}}}'
    result = validate(data.encode(), ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Submission)
    envelope = read_envelope(result.message.body)
    assert isinstance(envelope, Envelope)
    hopped = read_envelope(write_envelope(envelope.document, Metadata(GENERATED, epoch=1)))
    assert isinstance(hopped, Envelope)
    assert http_request(hopped.body).body == content.encode()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b'{"subject": "\\ud800", "body": {}}', "surrogate"),
        (b'{"subject": "s", "body": {"url": "http://h/", "content": 1e999}}', "infinity"),
        (b'{"subject": "s", "body": {"url": "http://h/", "content": NaN}}', "not valid JSON"),
        (b'{"subject": "s\xff", "body": {}}', "not valid JSON"),
        (b"[" * 1000 + b"]" * 1000, "not valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_json_is_refused_with_the_cause(data: bytes, part: str) -> None:
    """Also lone surrogates and numbers beyond a double, which few readers accept."""
    result = validate(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Rejection)
    assert result.problem.status == 400
    assert part in result.problem.detail


def test_a_leading_byte_order_mark_is_ignored() -> None:
    """RFC 8259 §8.1 lets a parser do so; anywhere else it is invalid."""
    mark = b"\xef\xbb\xbf"
    result = validate(mark + json_codec.dumps(MESSAGE), ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Submission)
    assert not result.message.body.startswith(mark)
    assert isinstance(validate(mark * 2 + json_codec.dumps(MESSAGE), ORIGIN, RANDOM, LIMITS), Rejection)


@pytest.mark.promise(12)
@pytest.mark.parametrize(("extra", "status"), [(0, None), (1, 413)])
def test_a_message_may_have_262144_bytes_as_received(extra: int, status: int | None) -> None:
    """One more is 413, and the subject is still known, for the order within a batch."""
    frame = len(json_codec.dumps(MESSAGE | {"body": BODY | {"content": ""}}))
    data = json_codec.dumps(MESSAGE | {"body": BODY | {"content": "a" * (262_144 - frame + extra)}})
    result = validate(data, ORIGIN, RANDOM, LIMITS)
    if status is None:
        assert isinstance(result, Submission)
    else:
        assert isinstance(result, Rejection)
        assert (result.problem.status, result.subject) == (status, "pc_send_88_519")


def test_a_message_that_grows_beyond_300_kib_on_the_queue_is_refused() -> None:
    """U+FFFF takes three bytes as received and six in the queue's format."""
    data = json_codec.dumps(MESSAGE | {"body": BODY | {"content": ""}}).replace(
        b'"content":""', b'"content":"' + b"\xef\xbf\xbf" * 60_000 + b'"'
    )
    result = validate(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(result, Rejection)
    assert result.problem.status == 413
    assert "300" not in result.problem.title
    assert str(LIMITS.max_queue_bytes) in result.problem.detail


@pytest.mark.parametrize(
    ("given", "key", "expected"),
    [
        ("my.id_1-2", None, "my.id_1-2"),
        ("mine", "key", "mine"),
        (None, None, GENERATED),
    ],
)
def test_a_given_id_wins_over_a_key_and_both_over_a_generated_one(
    given: str | None, key: str | None, expected: str
) -> None:
    """A null id counts as absent."""
    origin = Origin("helpdesk/conversations", NOW, idempotency_key=key)
    assert accepted(MESSAGE | {"id": given}, origin).id == expected


def test_an_idempotency_key_makes_the_same_id_for_the_same_route_and_subject_only() -> None:
    """So that a repeat within five minutes is one message for the queue."""
    origin = Origin("helpdesk/conversations", NOW, idempotency_key="key")
    first, again = accepted(MESSAGE, origin), accepted(MESSAGE, origin)
    assert first.message.deduplication_id == again.message.deduplication_id
    assert accepted(MESSAGE | {"subject": "other"}, origin).id != first.id
    assert accepted(MESSAGE, Origin("helpdesk/other", NOW, idempotency_key="key")).id != first.id


@pytest.mark.parametrize("subject", ["with space", "emoji 🦙", "x" * 500, "constructor", "\x00"], ids=ascii)
def test_any_subject_of_1_to_512_characters_gets_a_group_that_sqs_accepts(subject: str) -> None:
    """A subject that SQS can't carry is hashed; the message itself keeps it."""
    submission = accepted(MESSAGE | {"subject": subject})
    assert submission.subject == subject
    group = submission.message.group_id
    assert 1 <= len(group) <= 128
    assert all("!" <= character <= "~" for character in group)


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        BODY | {"content": ""},
        BODY | {"content": {"text": "hi"}, "headers": {"Content-Type": "text/x"}},
        BODY | {"content": [1, 2.5, True, None]},
        BODY | {"content": 0, "method": "PUT", "headers": None},
        BODY | {"content": base64.b64encode(bytes(range(256))).decode(), "contentEncoding": "base64"},
        BODY | {"content": None, "contentEncoding": "base64", "method": None},
    ],
    ids=str,
)
def test_every_accepted_body_can_be_made_into_a_request(body: dict[str, Any]) -> None:
    """Ingest and worker agree about valid bodies."""
    envelope = read_envelope(accepted(MESSAGE | {"body": body}).message.body)
    assert isinstance(envelope, Envelope)
    assert http_request(envelope.body).url == BODY["url"]


def test_traceparent_and_producer_are_stored_in_the_metadata() -> None:
    """So that the worker continues the trace."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    envelope = read_envelope(accepted(MESSAGE, Origin("h/c", NOW, "helpdesk/channels", trace)).message.body)
    assert isinstance(envelope, Envelope)
    assert envelope.metadata is not None
    assert (envelope.metadata.producer, envelope.metadata.traceparent) == ("helpdesk/channels", trace)


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", True),
        (f"cc-{'a' * 32}-{'b' * 16}-01-more", True),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'0' * 16}-01", False),
        (f"ff-{'a' * 32}-{'b' * 16}-01", False),
        (f"00-{'A' * 32}-{'b' * 16}-01", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_an_invalid_traceparent_is_ignored(header: str | None, valid: bool) -> None:
    """As W3C Trace Context requires; a trace never causes a refusal."""
    assert valid_traceparent(header) == (header if valid else None)


@pytest.mark.parametrize(
    ("key", "good"), [("k", True), ("k" * 255, True), ("", False), ("k" * 256, False), ("ü", False)]
)
def test_an_idempotency_key_is_1_to_255_printable_characters(key: str, good: bool) -> None:
    """Others are refused, since they would not identify a message reliably."""
    assert (key_error(key) is None) == good
