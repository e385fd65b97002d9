"""Runs the commands that read a data folder: dead letters and traces. The folder's owner may be running."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from chaski_cli import letters
from chaski_cli.console import emit, emit_json, stderr, stdout
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.times import parse_time
from chaski_cli.traces import trace_json, trace_view
from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_embedded.reader import Reader, open_reader
from chaski_runtime.clock import SystemClock


@dataclass(frozen=True, slots=True)
class Search:
    """Which dead letters, as written on the command line."""

    since: str | None = None
    until: str | None = None
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None
    text: str | None = None

    def filter(self, now_ms: int) -> DeadLetterFilter:
        """The same, understood. Raises CommandError for a time that is none."""
        return DeadLetterFilter(
            since=_moment("--since", self.since, now_ms),
            until=_moment("--until", self.until, now_ms),
            subject=self.subject,
            target=self.target,
            error_class=self.error_class,
            text=self.text,
        )


def run_list(data: Path, search: Search, limit: int | None, output: str) -> Exit:
    """Writes the dead letters that match, oldest first."""
    wanted = search.filter(SystemClock().now_ms())
    with open_folder(data) as reader:
        found = reader.find(wanted)
        _WRITERS[output](itertools.islice(found, limit))
        if next(found, None) is not None:
            stderr().print(f"there are more than {limit}; narrow the search, or raise --limit", style="yellow")
    return Exit.OK


def run_show(data: Path, message_id: str, *, as_json: bool) -> Exit:
    """Shows every dead letter of one id; there is more than one where a replay failed too."""
    with open_folder(data) as reader:
        found = reader.get(message_id)
    if not found:
        raise CommandError(
            f"no dead letter of {message_id} is in {data}",
            next_step=f"see what became of it: chaski trace {message_id}",
        )
    if as_json:
        _write_json(found)
    else:
        for letter in found:
            stdout().print(letters.letter_view(letter))
    return Exit.OK


def run_trace(data: Path, message_id: str, *, as_json: bool) -> Exit:
    """Shows every attempt of one id."""
    with open_folder(data) as reader:
        trace = reader.trace(message_id)
    if trace is None:
        raise CommandError(
            f"nothing is known of {message_id} in {data}",
            next_step="check the id against ingest's answer, and --data against that of `chaski dev`",
        )
    if as_json:
        emit_json(trace_json(trace))
    else:
        stdout().print(trace_view(trace))
    return Exit.OK


def open_folder(data: Path) -> Reader:
    """The data folder of a `chaski dev`.

    Raises:
        CommandError: there is none.
    """
    if not data.is_dir():
        raise wrong_input(f"there is no folder {data}", "name the --data of `chaski dev`; its default is ./.chaski")
    return open_reader(data)


def _moment(flag: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_ms)
    except ValueError as error:
        raise wrong_input(f"{flag}: {error}") from error


def _write_table(found: Iterable[DeadLetter]) -> None:
    listed = list(found)
    stdout().print(letters.letters_table(listed) if listed else Text("no dead letter matches"))


def _write_json(found: Iterable[DeadLetter]) -> None:
    emit(letters.json_list(found))


def _write_ndjson(found: Iterable[DeadLetter]) -> None:
    emit(letters.json_text(letter) + "\n" for letter in found)


def _write_csv(found: Iterable[DeadLetter]) -> None:
    emit(itertools.chain([letters.csv_header()], map(letters.csv_text, found)))


_WRITERS: dict[str, Callable[[Iterable[DeadLetter]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "ndjson": _write_ndjson,
    "csv": _write_csv,
}
