"""Every envelope ever accepted stays readable, and unknown fields travel on untouched."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core import json_codec
from chaski_core.message.envelope import (
    MAX_METADATA_BYTES,
    Envelope,
    Malformed,
    Metadata,
    read_envelope,
    write_envelope,
)
from chaski_core.retry.ladder import ErrorNote, LadderState, Retry, decide
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.retry.policy import Ladder, RetryPolicy, Rung
from unit.core.json_values import VALUES

NOW = 1_795_492_800_123  # 2026-11-24T04:00:00.123Z
PREDECESSOR = (
    b'{"subject": "pc_send_88_519", "body": {"url": "https://api.example/hooks/1", "content": {"text": "hi"}}}'
)
POLICY = RetryPolicy((Rung("fast", 5),), (Ladder("5xx", 5, ("fast",)),))
STRANGE_FIELDS = st.dictionaries(st.text("xyz-\uffff\u00e9", min_size=1, max_size=4), VALUES, max_size=3)


def read(data: bytes) -> Envelope:
    """The envelope, which must be readable."""
    envelope = read_envelope(data)
    assert isinstance(envelope, Envelope)
    return envelope


def climb(data: bytes, retries: int) -> bytes:
    """The message after `retries` more failures, written and read at every hop as workers do."""
    for number in range(retries):
        envelope = read(data)
        known = envelope.metadata or Metadata(route="ns/r", id="m-1")
        outcome = Outcome(ErrorClass.SERVER_ERROR, 500, detail=f"failure {number}", excerpt="sorry")
        decision = decide(POLICY, outcome, known.ladder, NOW + number)
        assert isinstance(decision, Retry)
        data = write_envelope(envelope.document, replace(known, ladder=decision.state))
    return data


def merged(old: Any, new: Any) -> bool:
    """Whether `new` contains `old`, at any depth of objects."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and merged(value, new[name]) for name, value in old.items())
    return repr(old) == repr(new)


@pytest.mark.promise(5)
def test_the_predecessors_json_is_read() -> None:
    """It has no metadata."""
    envelope = read(PREDECESSOR)
    assert envelope.subject == "pc_send_88_519"
    assert envelope.body == {"url": "https://api.example/hooks/1", "content": {"text": "hi"}}
    assert envelope.metadata is None


@pytest.mark.promise(5)
def test_the_predecessors_json_climbs_a_ladder() -> None:
    """At its first failure it gets metadata, and keeps all its fields."""
    envelope = read(climb(PREDECESSOR, 3))
    assert envelope.metadata is not None
    assert envelope.metadata.id == "m-1"
    assert envelope.metadata.ladder is not None
    assert (envelope.metadata.ladder.key, envelope.metadata.ladder.retries) == ("500", 2)
    assert merged(json.loads(PREDECESSOR), envelope.document)


@pytest.mark.promise(5)
@given(STRANGE_FIELDS, STRANGE_FIELDS, STRANGE_FIELDS, STRANGE_FIELDS, st.integers(0, 5))
def test_unknown_fields_travel_on_untouched_at_every_level(
    top: dict[str, Any], body: dict[str, Any], metadata: dict[str, Any], ladder: dict[str, Any], retries: int
) -> None:
    """Through a whole climb: top level, body, metadata and ladder, with their types and order."""
    start: dict[str, Any] = {
        **top,
        "subject": "s",
        "body": {"url": "u", **body},
        "metadata": {**metadata, "id": "m", "ladder": {**ladder, "class": "500", "retries": 0, "errors": []}},
    }
    written = json_codec.loads(climb(json_codec.dumps(start), min(retries, 4)))
    del start["metadata"]["ladder"]["retries"], start["metadata"]["ladder"]["errors"]
    assert merged(start, written)
    assert list(written) == list(start)


@pytest.mark.promise(5)
@given(STRANGE_FIELDS, STRANGE_FIELDS)
def test_unknown_fields_of_errors_travel_on_untouched(first: dict[str, Any], second: dict[str, Any]) -> None:
    """A newer release may add fields to an error, or write its time in an unknown form."""
    errors = [
        {"class": "500", "at": "2026-11-24T04:00:00.123Z", **first},
        {"class": "timeout", "at": {"epoch": 1}, "detail": "slow", **second},
    ]
    ladder = {"class": "500", "retries": 1, "errors": errors, "firstError": errors[0], "lastError": errors[1]}
    data = json_codec.dumps({"subject": "s", "body": {}, "metadata": {"id": "m", "ladder": ladder}})
    written = json_codec.loads(climb(data, 2))["metadata"]["ladder"]
    assert written["errors"][:2] == errors
    assert written["firstError"] == errors[0]
    assert [note["class"] for note in written["errors"]] == ["500", "timeout", "500", "500"]
    assert written["lastError"] == {
        "class": "500",
        "at": "2026-11-24T04:00:00.124Z",
        "detail": "failure 1",
        "excerpt": "sorry",
    }


@given(VALUES)
def test_writing_an_unchanged_envelope_changes_nothing(metadata: object) -> None:
    """With any metadata, known to this release or not."""
    data = json_codec.dumps({"subject": "s", "body": {}, "metadata": {"x": metadata}})
    envelope = read(data)
    assert envelope.metadata is not None
    assert write_envelope(envelope.document, envelope.metadata) == data


FORMS: dict[str, list[object]] = {
    "id": ["m", 5, None, ""],
    "route": ["ns/r", [], None],
    "acceptedAt": ["2026-11-24T04:00:00.123Z", "2026-11-24T05:00:00+01:00", "9999-12-31T23:59:59-23:59", 5, None],
    "producer": ["p", {"name": "p"}],
    "traceparent": ["00-1-2-03", 1],
    "epoch": [1, 0, -1, "2", 1.5, True, None],
    "ladder": [{"class": "404"}, {"class": 5, "retries": 1}, {"class": "404", "retries": -1}, [], "x", None],
}


@pytest.mark.promise(5)
@pytest.mark.parametrize(("name", "form"), [(name, form) for name, forms in FORMS.items() for form in forms], ids=str)
def test_metadata_in_any_form_is_read_and_kept(name: str, form: object) -> None:
    """A form of another release is neither refused nor lost."""
    data = json_codec.dumps({"subject": "s", "body": {}, "metadata": {name: form}})
    envelope = read(data)
    assert envelope.metadata is not None
    assert write_envelope(envelope.document, envelope.metadata) == data
    moved = json_codec.loads(write_envelope(envelope.document, replace(envelope.metadata, producer="new")))
    assert moved["metadata"] == {name: form, "producer": "new"} | {"producer": "new"}


def test_metadata_has_every_field_of_the_wire() -> None:
    """`Metadata` is written and read without a change."""
    state = LadderState("404", 1, (ErrorNote("404", NOW, "gone", "<p>"), ErrorNote("timeout", NOW + 1)))
    metadata = Metadata(
        "m-1", "ns/r", NOW, "ns/sa", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 2, state
    )
    document = {"subject": "s", "body": {"url": "u"}}
    envelope = read(write_envelope(document, metadata))
    assert envelope.metadata == metadata
    assert json_codec.loads(write_envelope(document, metadata)) == {
        **document,
        "metadata": {
            "id": "m-1",
            "route": "ns/r",
            "acceptedAt": "2026-11-24T04:00:00.123Z",
            "producer": "ns/sa",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "epoch": 2,
            "ladder": {
                "class": "404",
                "retries": 1,
                "firstError": {"class": "404", "at": "2026-11-24T04:00:00.123Z", "detail": "gone", "excerpt": "<p>"},
                "lastError": {"class": "timeout", "at": "2026-11-24T04:00:00.124Z"},
                "errors": [
                    {"class": "404", "at": "2026-11-24T04:00:00.123Z", "detail": "gone"},
                    {"class": "timeout", "at": "2026-11-24T04:00:00.124Z"},
                ],
            },
        },
    }


def test_a_replay_has_no_ladder() -> None:
    """A new epoch and no ladder; everything else is kept."""
    envelope = read(climb(PREDECESSOR, 3))
    assert envelope.metadata is not None
    again = read(write_envelope(envelope.document, replace(envelope.metadata, epoch=1, ladder=None)))
    assert again.metadata == Metadata(id="m-1", route="ns/r", epoch=1)
    assert again.document["metadata"] == {"route": "ns/r", "id": "m-1", "epoch": 1}


def test_a_field_that_is_none_is_removed() -> None:
    """Metadata that a producer has sent is replaced by that of ingest."""
    document = {
        "subject": "s",
        "body": {},
        "metadata": {"id": "mine", "epoch": 7, "producer": "root", "ladder": {"class": "5xx", "retries": 9}},
    }
    written = json_codec.loads(write_envelope(document, Metadata(id="made")))
    assert written["metadata"] == {"id": "made"}


@pytest.mark.parametrize("kept", [None, "text", 5, [1]], ids=str)
def test_metadata_that_is_not_an_object_is_ignored(kept: object) -> None:
    """The message stays readable; Chaski's own metadata replaces it."""
    envelope = read(json_codec.dumps({"subject": "s", "body": {}, "metadata": kept}))
    assert envelope.metadata is None
    assert read(write_envelope(envelope.document, Metadata(id="m"))).metadata == Metadata(id="m")


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"hello", "not JSON", id="text"),
        pytest.param(b"\xff\xfe", "not JSON", id="bytes"),
        pytest.param(b'{"subject": "\\ud800", "body": {}}', "not JSON", id="lone surrogate"),
        pytest.param(b"[" * 200 * 1024, "not JSON", id="nothing but brackets"),
        pytest.param(b'{"subject": "s", "body": ' + b'{"a":' * 300 + b"1" + b"}" * 301, "levels deep", id="too deep"),
        pytest.param(b"null", "a JSON null", id="null"),
        pytest.param(b"[]", "a JSON array", id="array"),
        pytest.param(b'"x"', "a JSON string", id="string"),
        pytest.param(b"true", "a JSON boolean", id="boolean"),
        pytest.param(b"1", "a JSON number", id="number"),
        pytest.param(b"1.5", "a JSON number", id="float"),
        pytest.param(b"{}", "has no `subject`", id="empty object"),
        pytest.param(b'{"body": {}}', "has no `subject`", id="no subject"),
        pytest.param(b'{"subject": 5, "body": {}}', "`subject` is not a text", id="subject is a number"),
        pytest.param(b'{"subject": null, "body": {}}', "`subject` is not a text", id="subject is null"),
        pytest.param(b'{"subject": "", "body": {}}', "`subject` is empty", id="subject is empty"),
        pytest.param(b'{"subject": "s"}', "has no `body`", id="no body"),
        pytest.param(b'{"subject": "s", "body": null}', "`body` is not an object", id="body is null"),
        pytest.param(b'{"subject": "s", "body": []}', "`body` is not an object", id="body is an array"),
    ],
)
def test_other_bytes_are_malformed_with_a_reason(data: bytes, reason: str) -> None:
    """A value, not an exception."""
    result = read_envelope(data)
    assert isinstance(result, Malformed)
    assert reason in result.reason


@pytest.mark.promise(5)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """The result is an envelope or Malformed."""
    assert isinstance(read_envelope(data), Envelope | Malformed)


@pytest.mark.promise(5)
@given(VALUES, VALUES, VALUES, VALUES)
def test_no_json_breaks_the_reader_or_the_writer(subject: object, body: object, metadata: object, at: object) -> None:
    """Any JSON value in any field: a readable message can be sent to a rung."""
    errors = [metadata, {"class": at, "at": at, "detail": body}]
    ladder = {"class": "500", "retries": 0, "errors": errors, "firstError": at, "lastError": metadata}
    for stranger in ({"subject": subject, "body": body, "metadata": metadata}, {"subject": "s", "body": {}}):
        data = json_codec.dumps({"metadata": {"acceptedAt": at, "id": at, "epoch": at, "ladder": ladder}, **stranger})
        envelope = read_envelope(data)
        if isinstance(envelope, Envelope):
            assert isinstance(read_envelope(climb(data, 1)), Envelope)


@pytest.mark.parametrize(
    "text", ["\0" * 5_000, "\uffff" * 5_000, "😀" * 5_000, '"\\' * 5_000, "\udcff" * 5_000, "x" * 5_000],
    ids=["NUL", "U+FFFF", "emoji", "quotes", "undecodable", "plain"],
)  # fmt: skip
@pytest.mark.parametrize("failures", [1, 2, 40, 120])
def test_metadata_stays_below_its_limit_for_the_worst_texts(text: str, failures: int) -> None:
    """Many long errors, of characters that need the most bytes, beside the longest ids."""
    state = LadderState("500", failures - 1, (ErrorNote("connection", NOW, text, text),) * failures)
    metadata = Metadata("i" * 64, f"{'n' * 63}/{'r' * 253}", NOW, "p" * 512, "t" * 512, 10**9, state)
    document = {"subject": "s", "body": {}}
    data = write_envelope(document, metadata)
    assert len(data) - len(json_codec.dumps(document)) < MAX_METADATA_BYTES
    ladder = read(data).metadata.ladder  # type: ignore[union-attr]
    assert ladder is not None
    assert (ladder.key, ladder.retries, len(ladder.errors)) == ("500", failures - 1, failures)


def test_a_subject_on_a_queue_may_exceed_the_limit_of_ingest() -> None:
    """Limits apply when a message is accepted, not when it is read."""
    assert read(json_codec.dumps({"subject": "x" * 5_000, "body": {}})).subject == "x" * 5_000
