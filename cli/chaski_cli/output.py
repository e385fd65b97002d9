"""Output of commands: results to standard output, everything else to standard error.

Tables are printed as kubectl's: one line for each row, on a terminal as well as in a file or a pipe, so that values can be
copied. A terminal cuts the columns that may be cut (`…`) where a line would be too long; anywhere else nothing is cut.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from chaski_core import json_codec
from chaski_core.errors import FieldError

SCHEMA_VERSION = 1  # of the JSON output: docs/cli.md#json
_PIPE_COLUMNS = 200  # of progress and such in a file or a pipe; tables there are as wide as they are
_GAP = "  "
_CUT_TO = 8  # columns that a cut cell keeps at least
_SECONDS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def stdout() -> Console:
    """The console for results. Long lines are not broken: a terminal wraps them, and copies them as one."""
    return _console(sys.stdout, soft_wrap=True)


def stderr() -> Console:
    """The console for progress, warnings and errors."""
    return _console(sys.stderr, soft_wrap=not sys.stderr.isatty())


def _console(stream: IO[str], *, soft_wrap: bool) -> Console:
    width = None if stream.isatty() else _PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, soft_wrap=soft_wrap)


def emit(texts: Iterable[str]) -> None:
    """Writes machine-readable results: UTF-8 in any locale, piece by piece, so that memory stays flat."""
    for text in texts:
        sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def emit_json(value: Any, *, indented: bool = False) -> None:
    """Writes one JSON value and a newline, as it is: for documents that have a form of their own."""
    sys.stdout.buffer.write(json_codec.dumps(value, indented=indented) + b"\n")
    sys.stdout.buffer.flush()


def emit_result(value: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, indented: bool = False) -> None:
    """Writes a result as JSON and a newline: an object, or a list of them, with the version of its form."""
    emit_json(
        versioned(value) if isinstance(value, Mapping) else [versioned(each) for each in value], indented=indented
    )


def versioned(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the JSON output with `schemaVersion`."""
    return {"schemaVersion": SCHEMA_VERSION, **value}


def printable(text: str) -> str:
    """Escapes control characters: untrusted text must not control the user's terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cell(text: object, style: str = "") -> Text:
    """A table cell with plain text: no markup, control characters escaped."""
    return Text(printable(str(text)), style=style)


def age(since_ms: int, now_ms: int) -> str:
    """How long ago a moment was, in one unit, as kubectl prints ages: `45s`, `12m`, `3h`, `9d`."""
    seconds = max(0, now_ms - since_ms) // 1000
    unit, size = next((each for each in _SECONDS if seconds >= 2 * each[1]), _SECONDS[-1])
    return f"{seconds // size}{unit}"


class TextTable:
    """Rows in columns, for rich's consoles.

    `rich.table` folds or cuts what does not fit. Here that happens to the columns named in `cut` only, so that an id can be copied.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Sequence[str],
        cut: Sequence[str],
        head: bool,
    ) -> None:
        """See `table`."""
        self._rows = [tuple(each if isinstance(each, Text) else cell(each) for each in row) for row in rows]
        if head:
            self._rows.insert(0, tuple(Text(name.upper(), style="bold") for name in columns))
        self._right = [name in right for name in columns]
        self._cut = [index for index, name in enumerate(columns) if name in cut]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """One line for each row."""
        widths = [max((each.cell_len for each in column), default=0) for column in zip(*self._rows, strict=True)]
        if console.is_terminal:
            widths = _fitted(widths, self._cut, options.max_width - len(_GAP) * (len(widths) - 1))
        for row in self._rows:
            line = Text(no_wrap=True, overflow="ignore", end="\n")
            for index, (each, width) in enumerate(zip(row, widths, strict=True)):
                shown = each.copy()
                shown.truncate(width, overflow="ellipsis")
                space = " " * (width - shown.cell_len)
                line.append(_GAP if index else "")
                line.append_text(Text.assemble(space, shown) if self._right[index] else Text.assemble(shown, space))
            line.rstrip()
            yield line


def _fitted(widths: Sequence[int], cut: Sequence[int], available: int) -> list[int]:
    """The widths with those of `cut` made smaller, the widest first, until all are available or none can be made smaller."""
    fitted = list(widths)
    while cut and sum(fitted) > available:
        widest = max(cut, key=lambda index: fitted[index])
        if fitted[widest] <= _CUT_TO:
            break
        fitted[widest] -= 1
    return fitted


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    cut: Sequence[str] = (),
    head: bool = True,
) -> TextTable:
    """A plain table.

    Args:
        columns: their names.
        rows: a value for each column.
        right: names of the columns that are aligned right.
        cut: names of those that a narrow terminal may cut. Never what people copy, such as ids.
        head: whether the names are printed.
    """
    return TextTable(columns, rows, right=right, cut=cut, head=head)


def error_lines(errors: Iterable[FieldError]) -> str:
    """The errors as indented lines."""
    return "\n".join(f"  {printable(str(error))}" for error in errors)
