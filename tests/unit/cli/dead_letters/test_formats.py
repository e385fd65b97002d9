"""Dead letters as tables, JSON and CSV."""

import csv
import io
from dataclasses import replace

import orjson
import pytest
from rich.console import Console

from chaski_cli.dead_letters.formats import (
    csv_header,
    csv_text,
    dead_letter_view,
    dead_letters_table,
    json_text,
    wide_table,
)
from chaski_core.dead_letter import DeadLetter
from chaski_core.redaction import Redaction
from chaski_core.retry.ladder import ErrorNote, Reason
from support.dead_letters.builder import a_dead_letter

AT = 1_764_000_000_123
DEAD_LETTER = a_dead_letter(
    "identity-1",
    route="default/first",
    id="id-1",
    subject='a "quoted", subject',
    dead_lettered_at=AT,
    target="local",
    url="http://127.0.0.1:9000/x",
    attempts=2,
    errors=(ErrorNote("404", AT - 5_000, "status 404", "no such page"), ErrorNote("500", AT, "status 500")),
    envelope={"subject": "s", "body": {"content": "[bold]x[/]\x1b[2J", "big": 2**70}},
)
MALFORMED = a_dead_letter(
    "id-2",
    route="default/first",
    dead_lettered_at=AT,
    reason=Reason.MALFORMED,
    error_class="",
    target="none",
    url="",
    attempts=0,
    envelope=None,
    raw=b"\xffgarbage\x1b",
    detail="not JSON",
)


def rendered(renderable: object) -> str:
    """The output in a file."""
    console = Console(file=io.StringIO(), width=400, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_list_has_one_row_per_dead_letter() -> None:
    """Age, identity, class, reason and subject, in 80 columns also with a usual identity and the longest words."""
    now = AT + 7_200_000
    head, first, second = rendered(dead_letters_table([DEAD_LETTER, MALFORMED], now)).splitlines()
    assert head.split() == ["AGE", "MESSAGE", "CLASS", "REASON", "SUBJECT"]
    assert first.split(maxsplit=4) == ["2h", "identity-1", "404", "exhausted", 'a "quoted", subject']
    assert "malformed" in second
    usual = replace(
        MALFORMED, message_id="5fea7756-0ea4-451a-a703-a558b933e274", error_class="connection", subject="s" * 12
    )
    assert len(rendered(dead_letters_table([usual], now)).splitlines()[1]) <= 80


def test_a_wide_list_has_whatever_a_row_can_hold() -> None:
    """Whole times, the producer's id, the route, the target and the words of the last error."""
    head, first, second = rendered(wide_table([DEAD_LETTER, MALFORMED])).splitlines()
    for part in (
        "2025-11-24 16:00:00Z",
        "identity-1",
        "id-1",
        "default/first",
        "local",
        "exhausted",
        "2",
        "status 500",
    ):
        assert part in first
    assert "LAST ERROR" in head
    assert second.endswith("not JSON")


def test_one_dead_letter_is_shown_whole() -> None:
    """Every error with its response, and the message."""
    text = rendered(dead_letter_view(DEAD_LETTER))
    for part in ("http://127.0.0.1:9000/x (rule local)", "no such page", "status 500", "[bold]x[/]", str(2**70)):
        assert part in text


@pytest.mark.parametrize("dead_letter", [DEAD_LETTER, MALFORMED], ids=["an envelope", "raw bytes"])
def test_a_message_cannot_control_the_terminal(dead_letter: DeadLetter) -> None:
    """Escape sequences of a message are printed escaped."""
    assert "\x1b" not in rendered(dead_letter_view(dead_letter))
    assert "\x1b" not in rendered(dead_letters_table([dead_letter], AT))
    assert "\x1b" not in rendered(wide_table([dead_letter]))


def test_json_is_the_documented_item() -> None:
    """One line with every field, numbers exact."""
    line = json_text(DEAD_LETTER)
    assert "\n" not in line
    assert str(2**70) in line
    expected = {
        "schemaVersion",
        "messageId",
        "id",
        "subject",
        "target",
        "class",
        "reason",
        "deadLetteredAt",
        "attempts",
        "errors",
        "envelope",
    }
    assert expected <= orjson.loads(line).keys()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-2+3", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", "\uff1d1+1", "=cmd|' /C calc'!A0"]
)
def test_csv_cells_that_a_spreadsheet_would_evaluate_are_text(text: str) -> None:
    """Subjects, URLs and errors come from producers and targets: a quote in front makes each of them text (OWASP)."""
    error = ErrorNote("404", AT, text)
    dead_letter = replace(DEAD_LETTER, subject=text, url=text, errors=(error,), id=text, target=text)
    (row,) = csv.DictReader(io.StringIO(csv_header() + csv_text(dead_letter)))
    assert {row[column] for column in ("subject", "url", "lastError", "id", "target")} == {"'" + text}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row.values())
    (exact,) = csv.DictReader(io.StringIO(csv_header() + csv_text(dead_letter, raw=True)))
    assert exact["subject"] == text


@pytest.mark.parametrize("text", ["order-1", "'quoted'", " =1", "1-1", ""])
def test_other_csv_cells_stay_as_they_are(text: str) -> None:
    """Only the first character counts."""
    (row,) = csv.DictReader(io.StringIO(csv_header() + csv_text(replace(DEAD_LETTER, subject=text))))
    assert row["subject"] == text


@pytest.mark.parametrize(
    ("dead_letter", "last_error", "envelope"),
    [
        pytest.param(DEAD_LETTER, "status 500", '"body"', id="the last error, the message as JSON"),
        pytest.param(MALFORMED, "not JSON", "\\xffgarbage", id="a malformed message, the bytes"),
    ],
)
def test_csv_is_read_back_by_any_reader(dead_letter: DeadLetter, last_error: str, envelope: str) -> None:
    """Quotes and commas survive."""
    (row,) = csv.DictReader(io.StringIO(csv_header() + csv_text(dead_letter)))
    assert row["subject"] == dead_letter.subject
    assert row["lastError"] == last_error
    assert envelope in row["envelope"]


@pytest.mark.promise(14)
def test_redacted_parts_are_in_no_format() -> None:
    """Neither in the message nor in an error that repeats them."""
    envelope = {"subject": "s", "body": {"content": {"card": "4111-1111", "name": "Ada"}, "headers": {"Key": "t0ken"}}}
    errors = (ErrorNote("402", AT, "status 402", "declined: 4111-1111"),)
    letter = replace(
        DEAD_LETTER, envelope=envelope, errors=errors, redaction=Redaction(("/card",), ("key",)), detail="for 4111-1111"
    )
    for text in (json_text(letter), csv_text(letter), csv_text(letter, raw=True), rendered(dead_letter_view(letter))):
        assert "4111" not in text
        assert "t0ken" not in text
        assert "REDACTED" in text
        assert "Ada" in text
