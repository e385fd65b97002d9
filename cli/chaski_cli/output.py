"""Where commands write: results to standard output, everything else to standard error."""

import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaski_core import json_codec
from chaski_core.errors import FieldError

_WIDE = 200  # columns of a table that goes into a file or a pipe, where no terminal says how wide it is


def stdout() -> Console:
    """For results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """For progress, warnings and errors."""
    return _console(sys.stderr)


def _console(stream: IO[str]) -> Console:
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def emit(texts: Iterable[str]) -> None:
    """Writes results for machines: UTF-8 whatever the locale, piece by piece, so that a long export needs no memory."""
    for text in texts:
        sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def emit_json(value: Any, *, indented: bool = False) -> None:
    """Writes one JSON value and a line end."""
    sys.stdout.buffer.write(json_codec.dumps(value, indented=indented) + b"\n")
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Text from outside with control characters escaped, so that a message can't write to the reader's terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cell(text: object, style: str = "") -> Text:
    """A table cell that shows text as it is: no markup, no control characters."""
    return Text(printable(str(text)), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table; columns named in `right` are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(entry if isinstance(entry, Text) else cell(entry) for entry in row))
    return made


def fault_lines(faults: Iterable[FieldError]) -> str:
    """Faults as indented lines."""
    return "\n".join(f"  {printable(str(fault))}" for fault in faults)
