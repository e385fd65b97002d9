"""Dead letters for people and machines. Pure: what comes out is text or a table."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaski_cli.output import cell, printable, table
from chaski_cli.times import short_time
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.timestamps import timestamp

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
# Subjects, URLs and errors come from outside: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def letters_table(letters: Sequence[DeadLetter]) -> Table:
    """One line each, oldest first."""
    return table(
        ("dead-lettered at", "message", "id", "subject", "target", "class", "reason", "attempts", "sent again"),
        [
            (
                short_time(letter.dead_lettered_at),
                letter.message_id,
                "-" if letter.id == letter.message_id else letter.id,
                letter.subject,
                letter.target,
                letter.error_class or "-",
                letter.reason.value,
                letter.attempts,
                "-" if letter.replay is None else short_time(letter.replay.at),
            )
            for letter in letters
        ],
        right=("attempts",),
    )


def json_text(letter: DeadLetter) -> str:
    """The item as one line of JSON."""
    return json_codec.dumps(letter.as_json()).decode()


def json_list(letters: Iterable[DeadLetter]) -> Iterator[str]:
    """The pieces of one JSON array, an item a line."""
    opening = "["
    for letter in letters:
        yield opening + json_text(letter)
        opening = ",\n"
    yield "[]\n" if opening == "[" else "]\n"


def csv_header() -> str:
    """The first line of a CSV export, line end included."""
    return _csv_line(_CSV_COLUMNS)


def csv_text(letter: DeadLetter, *, raw: bool = False) -> str:
    """The item as one CSV record, line end included; errors cut down to the last, the envelope as JSON.

    Texts that a spreadsheet would calculate get a quote in front, unless `raw` is set.
    """
    item = letter.as_json()
    item["lastError"] = letter.errors[-1].detail if letter.errors else letter.detail
    item["envelope"] = item.get("raw", "") if letter.envelope is None else json_codec.dumps(letter.envelope).decode()
    values = [item[column] for column in _CSV_COLUMNS]
    return _csv_line(values if raw else [_uncalculated(value) for value in values])


def letter_view(letter: DeadLetter) -> RenderableType:
    """Everything about one dead letter."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in (
        ("message", letter.message_id),
        ("id", letter.id),
        *((("replay of", letter.replay_of),) if letter.replay_of is not None else ()),
        ("subject", letter.subject),
        ("route", letter.route),
        ("target", f"{letter.url} (rule {letter.target})"),
        ("dead-lettered at", timestamp(letter.dead_lettered_at)),
        ("reason", f"{letter.reason.value}{': ' + letter.detail if letter.detail else ''}"),
        ("class", letter.error_class or "-"),
        ("attempts", letter.attempts),
        ("sent again", _sent_again(letter)),
    ):
        facts.add_row(Text(name, style="bold"), cell(value))
    errors = table(
        ("#", "at", "class", "what happened", "answer"),
        [
            (number, timestamp(note.at), note.key, note.detail, note.excerpt)
            for number, note in enumerate(letter.errors, start=1)
        ],
        right=("#",),
    )
    parts: list[RenderableType] = [facts]
    if letter.errors:
        parts += [Text(), errors]
    parts += [Text(), Text("message", style="bold"), Text(_message(letter))]
    return Group(*parts)


def _sent_again(letter: DeadLetter) -> str:
    mark = letter.replay
    if mark is None:
        return "no"
    return f"{timestamp(mark.at)} by {mark.run}" + (f", as message {mark.message_id}" if mark.message_id else "")


def _message(letter: DeadLetter) -> str:
    if letter.envelope is None:
        return printable((letter.raw or b"").decode("utf-8", "backslashreplace"))
    text = json_codec.dumps(letter.envelope, indented=True).decode()
    return "\n".join(printable(line) for line in text.splitlines())


def _uncalculated(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _csv_line(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(values)
    return out.getvalue()
