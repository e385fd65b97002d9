"""Output of commands: results to standard output, everything else to standard error."""

import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaski_core import json_codec
from chaski_core.errors import FieldError

_WIDE = 200  # columns of a table in a file or a pipe


def stdout() -> Console:
    """The console for results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console for progress, warnings and errors."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def emit(texts: Iterable[str]) -> None:
    """Writes machine-readable results: UTF-8 in any locale, piece by piece, so that memory stays flat."""
    for text in texts:
        sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def emit_json(value: Any, *, indented: bool = False) -> None:
    """Writes one JSON value and a newline."""
    sys.stdout.buffer.write(json_codec.dumps(value, indented=indented) + b"\n")
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Escapes control characters: untrusted text must not control the user's terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cell(text: object, style: str = "") -> Text:
    """A table cell with plain text: no markup, control characters escaped."""
    return Text(printable(str(text)), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table; columns named in `right` are aligned right."""
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(entry if isinstance(entry, Text) else cell(entry) for entry in row))
    return result


def error_lines(errors: Iterable[FieldError]) -> str:
    """The errors as indented lines."""
    return "\n".join(f"  {printable(str(error))}" for error in errors)
