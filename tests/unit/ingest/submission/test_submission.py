import base64
from dataclasses import replace
from typing import Any

import pytest

from chaski_core import json_codec
from chaski_core.message import labels
from chaski_core.message.envelope import Envelope, Metadata, http_request, read_envelope, write_envelope
from chaski_core.message.traceparent import valid_traceparent
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, Rejection, Submission, judge, key_fault
from unit.ingest.fakes import NOW

ORIGIN = Origin("helpdesk/conversations", NOW)
LIMITS = IngestSettings()
RANDOM = b"\x5a" * 10
GENERATED = labels.generate(NOW, RANDOM)
BODY: dict[str, Any] = {"url": "https://api.example/hooks/1"}
MESSAGE: dict[str, Any] = {"subject": "pc_send_88_519", "body": BODY}


def accepted(document: dict[str, Any], origin: Origin = ORIGIN) -> Submission:
    """What a message becomes that has to be accepted."""
    verdict = judge(json_codec.dumps(document), origin, RANDOM, LIMITS)
    assert isinstance(verdict, Submission), verdict
    return verdict


def faults(document: object) -> dict[str, str]:
    """What is wrong with a message, by field."""
    verdict = judge(json_codec.dumps(document), ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Rejection)
    assert verdict.problem.status == 400
    return {fault.field: fault.message for fault in verdict.problem.errors}


def test_the_smallest_message_is_a_subject_and_a_url() -> None:
    """It gets the generated id, its subject as group, and metadata on the queue."""
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


IDENTIFIED = MESSAGE | {"id": "invoice-4711"}
BILLING = Origin("helpdesk/conversations", NOW, "billing")
STRANGER = Origin("helpdesk/conversations", NOW, "stranger")


@pytest.mark.promise(2)
@pytest.mark.promise(14)
def test_an_id_is_a_producers_own() -> None:
    """Whoever guesses it makes another message, with the same label."""
    assert deduplication(IDENTIFIED, BILLING) != deduplication(IDENTIFIED, STRANGER)
    assert accepted(IDENTIFIED, BILLING).id == accepted(IDENTIFIED, STRANGER).id == "invoice-4711"


@pytest.mark.promise(2)
def test_an_id_with_another_body_is_another_message() -> None:
    """Only a repeat is a repeat, in whatever order its keys come and whenever it comes."""
    body = BODY | {"method": "PUT"}
    assert deduplication(IDENTIFIED | {"body": body}) != deduplication(IDENTIFIED)
    turned = {"body": dict(reversed(body.items())), "id": "invoice-4711", "subject": MESSAGE["subject"]}
    later = Origin("helpdesk/conversations", NOW + 60_000)
    assert deduplication(turned, later) == deduplication(IDENTIFIED | {"body": body})


@pytest.mark.promise(14)
def test_an_idempotency_key_is_a_producers_own() -> None:
    """The same key, subject and body of two producers are two messages."""
    billing, stranger = (replace(origin, idempotency_key="order-1") for origin in (BILLING, STRANGER))
    assert deduplication(MESSAGE, billing) == deduplication(MESSAGE, billing)
    assert deduplication(MESSAGE, billing) != deduplication(MESSAGE, stranger)
    assert deduplication(MESSAGE | {"body": BODY | {"content": "x"}}, billing) != deduplication(MESSAGE, billing)
    assert accepted(MESSAGE, billing).id != accepted(MESSAGE, stranger).id


def test_without_an_id_every_request_is_a_message_of_its_own() -> None:
    """The generated label names it."""
    randoms = (RANDOM, b"\xa5" * 10)
    verdicts = [judge(json_codec.dumps(MESSAGE), ORIGIN, random, LIMITS) for random in randoms]
    assert [each.message.deduplication_id for each in verdicts if isinstance(each, Submission)] == [
        f"{labels.generate(NOW, random)}:first" for random in randoms
    ]


@pytest.mark.promise(5)
def test_fields_that_are_not_known_travel_on_untouched() -> None:
    """Beside subject and body, and inside body."""
    document = MESSAGE | {"x-tenant": {"a": [1, None]}, "body": BODY | {"priority": 12345678901234567890123}}
    queued = json_codec.loads(accepted(document).message.body)
    metadata = queued.pop("metadata")
    assert queued == document
    assert set(metadata) == {"id", "route", "acceptedAt"}


@pytest.mark.parametrize(
    ("document", "field", "part"),
    [
        ([], "", "no JSON object"),
        ({"body": BODY}, "subject", "is missing"),
        (MESSAGE | {"subject": 5}, "subject", "is a number"),
        (MESSAGE | {"subject": None}, "subject", "is null"),
        (MESSAGE | {"subject": ""}, "subject", "0 characters"),
        (MESSAGE | {"subject": "s" * 513}, "subject", "513 characters"),
        ({"subject": "s"}, "body", "is missing"),
        ({"subject": "s", "body": "x"}, "body", "is text"),
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
        (MESSAGE | {"body": BODY | {"contentEncoding": "gzip"}}, "body.contentEncoding", "is not known"),
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
def test_a_fault_names_its_field_and_what_is_wrong(document: object, field: str, part: str) -> None:
    """So that a producer can mend it without asking."""
    found = faults(document)
    assert part in found[field]


def test_every_fault_is_named_not_only_the_first() -> None:
    """One answer is enough to mend a message."""
    body = {"url": "x", "method": "CONNECT", "headers": {"Host": "x", "X:": "y"}, "contentEncoding": "rot13"}
    found = faults({"subject": "", "id": "?", "metadata": 1, "body": body})
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
def test_a_key_that_stands_twice_is_refused_by_its_path(data: bytes, field: str) -> None:
    """Which one counts would be the reader's choice, and the producer meant one of them."""
    verdict = judge(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Rejection)
    assert verdict.problem.status == 400
    assert [fault.field for fault in verdict.problem.errors] == [field]
    assert "twice" in verdict.problem.detail


@pytest.mark.promise(5)
@pytest.mark.parametrize("number", ["12345678901234567.89", "1.10", "1e2", "1e-400", "-0", "0.12345678901234567890123"])
def test_a_number_in_content_reaches_the_request_as_it_was_written(number: str) -> None:
    """Over the queue, and over a hop to a rung."""
    content = '{"amount":%s,"list":[%s]}' % (number, number)  # noqa: UP031 - braces
    data = f'{{"subject": "a", "body": {{"url": "https://a.example/", "content": {content}}}}}'
    verdict = judge(data.encode(), ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Submission)
    envelope = read_envelope(verdict.message.body)
    assert isinstance(envelope, Envelope)
    hopped = read_envelope(write_envelope(envelope.document, Metadata(GENERATED, epoch=1)))
    assert isinstance(hopped, Envelope)
    assert http_request(hopped.body).body == content.encode()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "no JSON"),
        (b"hello", "no JSON"),
        (b'{"subject": "\\ud800", "body": {}}', "surrogate"),
        (b'{"subject": "s", "body": {"url": "http://h/", "content": 1e999}}', "infinity"),
        (b'{"subject": "s", "body": {"url": "http://h/", "content": NaN}}', "no JSON"),
        (b'{"subject": "s\xff", "body": {}}', "no JSON"),
        (b"[" * 1000 + b"]" * 1000, "no JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bytes_that_are_no_json_are_refused_with_the_cause(data: bytes, part: str) -> None:
    """Lone surrogates and numbers beyond a double are no JSON that can be carried."""
    verdict = judge(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Rejection)
    assert verdict.problem.status == 400
    assert part in verdict.problem.detail


def test_a_byte_order_mark_in_front_is_left_out() -> None:
    """RFC 8259 §8.1 lets a parser do so; anywhere else it is no JSON."""
    mark = b"\xef\xbb\xbf"
    verdict = judge(mark + json_codec.dumps(MESSAGE), ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Submission)
    assert not verdict.message.body.startswith(mark)
    assert isinstance(judge(mark * 2 + json_codec.dumps(MESSAGE), ORIGIN, RANDOM, LIMITS), Rejection)


@pytest.mark.promise(12)
@pytest.mark.parametrize(("extra", "status"), [(0, None), (1, 413)])
def test_a_message_may_have_262144_bytes_as_received(extra: int, status: int | None) -> None:
    """One more is 413, and the subject is still known, for the order within a batch."""
    frame = len(json_codec.dumps(MESSAGE | {"body": BODY | {"content": ""}}))
    data = json_codec.dumps(MESSAGE | {"body": BODY | {"content": "a" * (262_144 - frame + extra)}})
    verdict = judge(data, ORIGIN, RANDOM, LIMITS)
    if status is None:
        assert isinstance(verdict, Submission)
    else:
        assert isinstance(verdict, Rejection)
        assert (verdict.problem.status, verdict.subject) == (status, "pc_send_88_519")


def test_a_message_that_grows_beyond_300_kib_on_the_queue_is_refused() -> None:
    """U+FFFF takes three bytes as received and six as the queue needs it."""
    data = json_codec.dumps(MESSAGE | {"body": BODY | {"content": ""}}).replace(
        b'"content":""', b'"content":"' + b"\xef\xbf\xbf" * 60_000 + b'"'
    )
    verdict = judge(data, ORIGIN, RANDOM, LIMITS)
    assert isinstance(verdict, Rejection)
    assert verdict.problem.status == 413
    assert "300" not in verdict.problem.title
    assert str(LIMITS.max_queue_bytes) in verdict.problem.detail


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
    """An absent or null id is none."""
    origin = Origin("helpdesk/conversations", NOW, idempotency_key=key)
    assert accepted(MESSAGE | {"id": given}, origin).id == expected


def test_an_idempotency_key_makes_the_same_id_for_the_same_route_and_subject_only() -> None:
    """So that a repeat within five minutes is one message to the queue."""
    origin = Origin("helpdesk/conversations", NOW, idempotency_key="key")
    first, again = accepted(MESSAGE, origin), accepted(MESSAGE, origin)
    assert first.message.deduplication_id == again.message.deduplication_id
    assert accepted(MESSAGE | {"subject": "other"}, origin).id != first.id
    assert accepted(MESSAGE, Origin("helpdesk/other", NOW, idempotency_key="key")).id != first.id


@pytest.mark.parametrize("subject", ["with space", "emoji 🦙", "x" * 500, "constructor", "\x00"], ids=ascii)
def test_any_subject_of_1_to_512_characters_gets_a_group_that_sqs_takes(subject: str) -> None:
    """What SQS can't carry is hashed; the message itself keeps its subject."""
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
def test_what_is_accepted_can_be_made_into_a_request(body: dict[str, Any]) -> None:
    """Ingest and worker agree about what a body is."""
    envelope = read_envelope(accepted(MESSAGE | {"body": body}).message.body)
    assert isinstance(envelope, Envelope)
    assert http_request(envelope.body).url == BODY["url"]


def test_traceparent_and_producer_are_noted_in_the_metadata() -> None:
    """So that a trace goes on at the worker."""
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
def test_a_broken_traceparent_is_ignored(header: str | None, valid: bool) -> None:
    """W3C Trace Context asks for it; a trace is no reason to refuse a message."""
    assert valid_traceparent(header) == (header if valid else None)


@pytest.mark.parametrize(
    ("key", "good"), [("k", True), ("k" * 255, True), ("", False), ("k" * 256, False), ("ü", False)]
)
def test_an_idempotency_key_is_1_to_255_printable_characters(key: str, good: bool) -> None:
    """Others are refused, since they would not name a message reliably."""
    assert (key_fault(key) is None) == good
