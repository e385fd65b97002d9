"""What is shown of a message whose route redacts parts of it."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.redaction import Redaction, read_redaction, redacted_body, without_echoes
from chaski_core.retry.ladder import ErrorNote, Reason
from support.dead_letters.builder import a_dead_letter

CARD = "4111-1111-1111-1111"
PHONE = "+49 170 1234567"
_RULES = Redaction(("/card", "/people/*/phone"), ("Authorization",))
_CONTENT = {"card": CARD, "people": [{"phone": PHONE, "name": "Ada"}, {"name": "Bob"}], "total": 12.50}


def body(content: Any = _CONTENT, **more: Any) -> dict[str, Any]:
    """The body of an envelope."""
    headers = {"authorization": "Bearer t0ken", "X-Trace": "1"}
    return {"url": "https://t.example/", "content": content, "headers": headers, **more}


@pytest.mark.parametrize(
    ("content", "pointers", "shown"),
    [
        ({"a": {"b": 1, "c": 2}}, ["/a/b"], {"a": {"b": "REDACTED", "c": 2}}),
        ({"a": {"b": 1}}, ["/a"], {"a": "REDACTED"}),
        ({"a": [1, 2, 3]}, ["/a/1"], {"a": [1, "REDACTED", 3]}),
        ({"a": [{"p": 1}, {"p": 2}, 3]}, ["/a/*/p"], {"a": [{"p": "REDACTED"}, {"p": "REDACTED"}, 3]}),
        ({"a": {"x": 1, "y": 2}}, ["/a/*"], {"a": {"x": "REDACTED", "y": "REDACTED"}}),
        ({"a/b": 1, "m~n": 2}, ["/a~1b", "/m~0n"], {"a/b": "REDACTED", "m~n": "REDACTED"}),
        ({"": 1}, ["/"], {"": "REDACTED"}),
        ({"a": 1}, ["/b", "/a/b", "/a/0"], {"a": 1}),
        ({"a": None}, ["/a"], {"a": "REDACTED"}),
        ({"a": 1}, [""], "REDACTED"),
        ([1, 2], ["/0"], ["REDACTED", 2]),
        (5, ["/a"], 5),
        (5, [""], "REDACTED"),
        ('{"a": 1, "b": 2}', ["/a"], '{"a":"REDACTED","b":2}'),
        ('{"a": 1, "a": 2}', ["/a"], '{"a":"REDACTED"}'),
        ('{"a": {"b": "hidden by the second a"}, "a": 2}', ["/a/b"], '{"a":2}'),
        ('{"b": 2}', ["/a"], '{"b": 2}'),
        ("a=secret", ["/a"], "REDACTED"),
        ('"secret"', ["/a"], "REDACTED"),
        ("[" * 100_000, ["/a"], "REDACTED"),
        (None, ["/a"], None),
    ],
)
def test_pointers_are_those_of_rfc_6901(content: Any, pointers: list[str], shown: Any) -> None:
    """With `*`; text is read as JSON, and hidden whole where it is not."""
    assert redacted_body({"content": content}, Redaction(tuple(pointers)))[0] == {"content": shown}


def test_encoded_content_is_hidden_whole() -> None:
    """Pointers have no meaning in it."""
    shown, _ = redacted_body({"content": "eyJhIjoxfQ==", "contentEncoding": "base64"}, _RULES)
    assert shown["content"] == "REDACTED"


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "X_Api_Key", "x-api-key"])
def test_headers_are_compared_in_any_case_and_spelling(name: str) -> None:
    """`_` as `-`, as targets may read them."""
    shown, _ = redacted_body({"headers": {name: "v", "other": "w"}}, Redaction((), ("authorization", "X-API-Key")))
    assert shown["headers"] == {name: "REDACTED", "other": "w"}
    assert redacted_body({"headers": ["v"]}, Redaction((), ("a",)))[0] == {"headers": "REDACTED"}


def test_what_a_response_repeats_is_hidden_too() -> None:
    """In error texts and excerpts, also in those that the envelope's metadata keeps."""
    excerpt = f'{{"error": "card {CARD} of {PHONE} is declined"}}'
    note = ErrorNote("402", 1, f"HTTP 402 for {CARD}", excerpt)
    envelope = {"subject": "s", "body": body(), "metadata": {"ladder": {"errors": [{"excerpt": excerpt}]}}}
    dead = a_dead_letter(envelope=envelope, errors=(note,), detail=note.detail, redaction=_RULES)
    text = json_codec.dumps(dead.as_json()).decode()
    for secret in (CARD, PHONE, "t0ken"):
        assert secret not in text
        assert secret not in dead.document_text(indented=True)
    assert "Ada" in text
    assert "12.5" in text
    assert dead.envelope == envelope  # what a replay sends


@pytest.mark.parametrize("length", [8, len(CARD) - 1])
def test_what_a_response_repeats_is_hidden_also_where_the_excerpt_was_cut_within_it(length: int) -> None:
    """Excerpts have a greatest length; fewer than eight characters of a value say little."""
    note = ErrorNote("402", 1, "HTTP 402", f"declined: {CARD[:length]}")
    dead = a_dead_letter(envelope={"subject": "s", "body": body()}, errors=(note,), redaction=_RULES)
    assert dead.shown().errors[0].excerpt == "declined: REDACTED"


@pytest.mark.parametrize("length", [1, 2, 4, 8, len(CARD)])
def test_search_by_text_reveals_nothing_that_is_redacted(length: int) -> None:
    """No part of it is found; the rest of the message still is."""
    dead = a_dead_letter(envelope={"subject": "s", "body": body()}, redaction=_RULES)
    assert not DeadLetterFilter(text=f'"card":"{CARD[:length]}').matches(dead)
    assert not DeadLetterFilter(text=CARD[:length].rjust(4, "1")).matches(dead)
    assert DeadLetterFilter(text="ada").matches(dead)
    assert DeadLetterFilter(text=CARD).matches(a_dead_letter(envelope={"subject": "s", "body": body()}))


def test_malformed_bytes_are_hidden_whole() -> None:
    """They are no envelope, so nothing in them has a place; the text that quotes them is left out."""
    dead = a_dead_letter(
        envelope=None, raw=f"card {CARD}".encode(), reason=Reason.MALFORMED, detail=CARD, redaction=_RULES
    )
    assert (dead.document_text(), dead.as_json()["raw"]) == ("REDACTED", "REDACTED")
    assert "detail" not in dead.as_json()
    assert dead.shown().shown() == dead.shown()


_STORED = replace(_RULES, stored=True)


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, [CARD, PHONE, "t0ken"]),
        ({"content": f'{{"card": "{CARD}"}}'}, [CARD, "t0ken"]),
        ({"content": f"card {CARD}"}, [CARD, "t0ken"]),
    ],
)
def test_a_route_may_want_its_redacted_parts_not_stored(changes: dict[str, Any], gone: list[str]) -> None:
    """Nor what a response repeats of them. What is shown does not change, and the message is marked as incomplete."""
    notes = (ErrorNote("400", 1, "HTTP 400", f"no such card {CARD}"),)
    envelope = {"subject": "s", "body": body() | changes, "metadata": {"id": "a"}}
    dead = a_dead_letter(envelope=envelope, errors=notes, detail=f"card {CARD}", redaction=_STORED)
    stored = dead.to_store()
    for text in gone:
        assert text in repr(dead)
        assert text not in repr(stored)
    assert stored.redaction == _STORED
    assert stored.as_json() == dead.as_json()
    assert stored.to_store() == replace(stored, redaction=_RULES), "there is nothing left to remove"


@pytest.mark.promise(2)
@pytest.mark.parametrize("content", [{"name": "Ada"}, '{"name": "Ada"}', None])
def test_a_message_without_redacted_parts_is_stored_whole(content: Any) -> None:
    """So that it can be replayed."""
    envelope = {"subject": "s", "body": {"url": "https://t.example/", "content": content, "headers": {"X-Trace": "1"}}}
    dead = a_dead_letter(envelope=envelope, redaction=_STORED)
    assert dead.to_store() == replace(dead, redaction=_RULES)


def test_malformed_bytes_are_not_stored_where_redacted_parts_are_not() -> None:
    """Any part of them may be one."""
    dead = a_dead_letter(
        envelope=None, raw=f"card {CARD}".encode(), reason=Reason.MALFORMED, detail=CARD, redaction=_STORED
    )
    stored = dead.to_store()
    assert (stored.raw, stored.detail, stored.redaction) == (b"REDACTED", "", _STORED)


def test_without_rules_everything_is_shown() -> None:
    """The same object: nothing is copied."""
    dead = a_dead_letter(envelope={"subject": "s", "body": body()})
    assert dead.shown() is dead


@pytest.mark.parametrize("rules", [Redaction(), _RULES, Redaction(("",)), Redaction((), ("a",), stored=True)])
def test_rules_are_stored_as_text(rules: Redaction) -> None:
    """And read back."""
    assert read_redaction(rules.as_text()) == rules
    assert read_redaction('[["/a"],["b"]]') == Redaction(("/a",), ("b",))


@pytest.mark.parametrize("text", ["{", "5", "[1]", '{"a": 1}'])
def test_rules_that_can_not_be_read_hide_everything(text: str) -> None:
    """Of a later release, for example."""
    shown, _ = redacted_body(body(), read_redaction(text))
    assert (shown["content"], set(shown["headers"].values())) == ("REDACTED", {"REDACTED"})


def test_short_values_are_not_searched_in_other_texts() -> None:
    """A `1` would make error texts unreadable, and shows where it is."""
    _, hidden = redacted_body({"content": {"a": "1", "b": "1234", "c": "12345", "d": True}}, Redaction(("/*",)))
    assert hidden == ["12345", "1234"]
    assert without_echoes({"a": ["x12345", 1]}, hidden) == {"a": ["xREDACTED", 1]}
