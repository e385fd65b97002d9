"""The JSON form of a dead letter, and the filter that finds it."""

from dataclasses import replace

import pytest

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.retry.ladder import ErrorNote, Reason
from support.dead_letters.builder import a_dead_letter

NOW = 1_795_492_800_123
LETTER = a_dead_letter(
    "q-1",
    id="m-1",
    subject="pc_send_88",
    dead_lettered_at=NOW,
    target="helpdesk",
    url="https://api.example/hooks/1",
    attempts=2,
    errors=(ErrorNote("404", NOW - 5_000, "HTTP 404", "gone"), ErrorNote("timeout", NOW)),
    envelope={"subject": "pc_send_88", "body": {"url": "https://api.example/hooks/1", "content": "Grüße"}},
)


def test_the_json_of_a_dead_letter_is_complete() -> None:
    """The item of `dead-letters list`, with the whole envelope and every error."""
    assert LETTER.as_json() == {
        "messageId": "q-1",
        "id": "m-1",
        "subject": "pc_send_88",
        "route": "ns/r",
        "target": "helpdesk",
        "url": "https://api.example/hooks/1",
        "class": "404",
        "reason": "exhausted",
        "deadLetteredAt": "2026-11-24T04:00:00.123Z",
        "attempts": 2,
        "errors": [
            {"class": "404", "at": "2026-11-24T03:59:55.123Z", "detail": "HTTP 404", "excerpt": "gone"},
            {"class": "timeout", "at": "2026-11-24T04:00:00.123Z"},
        ],
        "envelope": LETTER.envelope,
    }


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"no JSON", "no JSON"),
        (b"", ""),
        ("Grüße".encode(), "Grüße"),
        (b"\xff\x00a", "\\xff\0a"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
    ids=["text", "nothing", "UTF-8", "no UTF-8", "surrogate in bytes"],
)
def test_malformed_bytes_are_shown_as_text(raw: bytes, shown: str) -> None:
    """For any bytes the item is JSON."""
    dead_letter = replace(LETTER, reason=Reason.MALFORMED, envelope=None, raw=raw, detail="not JSON", errors=())
    item = json_codec.loads(json_codec.dumps(dead_letter.as_json()))
    assert (item["raw"], item["detail"], item["envelope"], item["reason"]) == (shown, "not JSON", None, "malformed")
    assert DeadLetterFilter(text=shown).matches(dead_letter)


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        pytest.param(DeadLetterFilter(), True, id="everything"),
        pytest.param(DeadLetterFilter(route="ns/r"), True, id="route"),
        pytest.param(DeadLetterFilter(route="ns/other"), False, id="other route"),
        pytest.param(DeadLetterFilter(since=NOW), True, id="since is inclusive"),
        pytest.param(DeadLetterFilter(since=NOW + 1), False, id="since later"),
        pytest.param(DeadLetterFilter(until=NOW), False, id="until is exclusive"),
        pytest.param(DeadLetterFilter(until=NOW + 1), True, id="until later"),
        pytest.param(DeadLetterFilter(since=0), True, id="since the epoch"),
        pytest.param(DeadLetterFilter(until=0), False, id="until the epoch"),
        pytest.param(DeadLetterFilter(subject="pc_send_88"), True, id="subject"),
        pytest.param(DeadLetterFilter(subject="pc_send"), False, id="a part of the subject"),
        pytest.param(DeadLetterFilter(target="helpdesk"), True, id="target"),
        pytest.param(DeadLetterFilter(target="none"), False, id="other target"),
        pytest.param(DeadLetterFilter(error_class="404"), True, id="status"),
        pytest.param(DeadLetterFilter(error_class="4xx"), True, id="class of the status"),
        pytest.param(DeadLetterFilter(error_class="400"), False, id="other status of the class"),
        pytest.param(DeadLetterFilter(error_class="timeout"), False, id="class of a later error"),
        pytest.param(DeadLetterFilter(text="GRÜSSE"), True, id="text in another case"),
        pytest.param(DeadLetterFilter(text="grüße"), True, id="text as it is written"),
        pytest.param(DeadLetterFilter(text="hooks/1"), True, id="text in the url"),
        pytest.param(DeadLetterFilter(text="elsewhere"), False, id="text that is not there"),
        pytest.param(DeadLetterFilter(text=""), True, id="empty text"),
        pytest.param(DeadLetterFilter(subject="pc_send_88", error_class="5xx"), False, id="all must match"),
    ],
)
def test_a_filter_matches_dead_letters_that_fit_every_field(wanted: DeadLetterFilter, matches: bool) -> None:
    """By time, subject, target, class and content; None does not restrict."""
    assert wanted.matches(LETTER) == matches


@pytest.mark.parametrize(("error_class", "matches"), [("", True), ("4xx", False)], ids=["none", "some"])
def test_a_dead_letter_without_an_attempt_has_no_class(error_class: str, matches: bool) -> None:
    """Only the empty class matches it."""
    dead_letter = replace(LETTER, error_class="", errors=(), attempts=0)
    assert DeadLetterFilter(error_class=error_class).matches(dead_letter) == matches
