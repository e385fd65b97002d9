"""Dead letters as tables, JSON and CSV. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from chaski_cli.output import TextTable, age, cell, printable, table, versioned
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.timestamps import short_time, timestamp

_CSV_COLUMNS = (
    "messageId",
    "id",
    "subject",
    "route",
    "target",
    "url",
    "class",
    "reason",
    "deadLetteredAt",
    "attempts",
    "lastError",
    "envelope",
)
# Subjects, URLs and errors are untrusted: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def dead_letters_table(dead_letters: Sequence[DeadLetter], now_ms: int) -> TextTable:
    """One row each, in the given order; a usual one has 80 columns."""
    return table(
        ("age", "message", "class", "reason", "subject"),
        [
            (
                age(dead_letter.dead_lettered_at, now_ms),
                dead_letter.message_id,
                dead_letter.error_class or "-",
                dead_letter.reason.value,
                dead_letter.subject,
            )
            for dead_letter in dead_letters
        ],
        cut=("subject",),
    )


def wide_table(dead_letters: Sequence[DeadLetter]) -> TextTable:
    """One row each, in the given order, with all that a row can hold."""
    return table(
        (
            "dead-lettered at",
            "message",
            "id",
            "route",
            "subject",
            "target",
            "class",
            "reason",
            "attempts",
            "replayed at",
            "last error",
        ),
        [
            (
                short_time(dead_letter.dead_lettered_at),
                dead_letter.message_id,
                "-" if dead_letter.id == dead_letter.message_id else dead_letter.id,
                dead_letter.route,
                dead_letter.subject,
                dead_letter.target,
                dead_letter.error_class or "-",
                dead_letter.reason.value,
                dead_letter.attempts,
                "-" if dead_letter.replay is None else short_time(dead_letter.replay.at),
                _last_error(dead_letter.shown()),
            )
            for dead_letter in dead_letters
        ],
        right=("attempts",),
    )


def _last_error(shown: DeadLetter) -> str:
    return shown.errors[-1].detail if shown.errors else shown.detail


def json_text(dead_letter: DeadLetter) -> str:
    """One JSON object on one line."""
    return json_codec.dumps(versioned(dead_letter.as_json())).decode()


def json_list(dead_letters: Iterable[DeadLetter]) -> Iterator[str]:
    """The pieces of a JSON array with one item per line."""
    opening = "["
    for dead_letter in dead_letters:
        yield opening + json_text(dead_letter)
        opening = ",\n"
    yield "[]\n" if opening == "[" else "]\n"


def csv_header() -> str:
    """The first line of a CSV export, with its line end."""
    return _csv_line(_CSV_COLUMNS)


def csv_text(dead_letter: DeadLetter, *, raw: bool = False) -> str:
    """One CSV record with its line end: the last error only, the envelope as JSON.

    Values that a spreadsheet would evaluate are prefixed with a quote, unless `raw` is set.
    """
    dead_letter = dead_letter.shown()
    item = dead_letter.as_json()
    item["lastError"] = _last_error(dead_letter)
    item["envelope"] = dead_letter.document_text()
    values = [item[column] for column in _CSV_COLUMNS]
    return _csv_line(values if raw else [_unevaluated(value) for value in values])


def dead_letter_view(dead_letter: DeadLetter) -> RenderableType:
    """All fields, errors and the message, redacted."""
    dead_letter = dead_letter.shown()
    facts = (
        ("message", dead_letter.message_id),
        ("id", dead_letter.id),
        *((("replay of", dead_letter.replay_of),) if dead_letter.replay_of is not None else ()),
        ("subject", dead_letter.subject),
        ("route", dead_letter.route),
        ("target", f"{dead_letter.url} (rule {dead_letter.target})"),
        ("dead-lettered at", timestamp(dead_letter.dead_lettered_at)),
        ("reason", f"{dead_letter.reason.value}{': ' + dead_letter.detail if dead_letter.detail else ''}"),
        ("class", dead_letter.error_class or "-"),
        ("attempts", dead_letter.attempts),
        ("replayed", _replayed(dead_letter)),
    )
    errors = table(
        ("#", "at", "class", "error", "response"),
        [
            (number, timestamp(note.at), note.key, note.detail, note.excerpt)
            for number, note in enumerate(dead_letter.errors, start=1)
        ],
        right=("#",),
    )
    parts: list[RenderableType] = [
        table(("fact", "value"), [(Text(name, style="bold"), cell(value)) for name, value in facts], head=False)
    ]
    if dead_letter.errors:
        parts += [Text(), errors]
    parts += [Text(), Text("message", style="bold"), Text(_message(dead_letter))]
    return Group(*parts)


def _replayed(dead_letter: DeadLetter) -> str:
    mark = dead_letter.replay
    if mark is None:
        return "no"
    return f"{timestamp(mark.at)} by {mark.run}" + (f", as message {mark.message_id}" if mark.message_id else "")


def _message(dead_letter: DeadLetter) -> str:
    text = dead_letter.document_text(indented=True)
    return printable(text) if dead_letter.envelope is None else "\n".join(map(printable, text.splitlines()))


def _unevaluated(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _csv_line(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(values)
    return out.getvalue()
