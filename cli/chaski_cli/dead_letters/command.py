"""Runs the commands that read what is stored: dead letters and traces. The owner of a data folder may be running."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.text import Text

from chaski_cli.backends import BackendLocation, open_folder_reader
from chaski_cli.dead_letters import show
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import emit, emit_json, stderr, stdout
from chaski_cli.sources import open_source
from chaski_cli.times import parse_time
from chaski_cli.trace.command import trace_view, traces_json
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_runtime.process.clock import SystemClock

_TOLD_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Search:
    """Which dead letters, as written on the command line."""

    since: str | None = None
    until: str | None = None
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None
    text: str | None = None
    replayed: bool | None = None

    def filter(self, now_ms: int) -> DeadLetterFilter:
        """The same, understood. Raises CommandError for a time that is none."""
        return DeadLetterFilter(
            since=_moment("--since", self.since, now_ms),
            until=_moment("--until", self.until, now_ms),
            subject=self.subject,
            target=self.target,
            error_class=self.error_class,
            text=self.text,
            replayed=self.replayed,
        )


def run_list(where: BackendLocation, search: Search, limit: int | None, output: str) -> Exit:
    """Writes the dead letters that match, oldest first."""
    wanted = search.filter(SystemClock().now_ms())
    with open_source(where) as source:
        found = source.find(wanted)
        _WRITERS[output](_counted(itertools.islice(found, limit)))
        if next(found, None) is not None:
            stderr().print(f"there are more than {limit}; narrow the search, or raise --limit", style="yellow")
    return Exit.OK


def run_show(where: BackendLocation, message_id: str, *, as_json: bool) -> Exit:
    """Shows every dead letter of an identity or of a label; a replay that failed is one of them."""
    with open_source(where) as source:
        found = source.get(message_id)
    if not found:
        raise CommandError(
            f"no dead letter of {message_id} is in {where.name}",
            next_step=f"see what became of it: chaski trace {message_id} {where.flags}",
        )
    if as_json:
        _write_json(found)
    else:
        for letter in found:
            stdout().print(show.letter_view(letter))
    return Exit.OK


def run_trace(where: BackendLocation, logs: str | None, message_id: str, *, as_json: bool) -> Exit:
    """Shows every attempt of the messages of an identity or of a label, replays included."""
    if where.route is not None or logs is not None:
        from chaski_cli.trace.logs import traces_from_logs  # noqa: PLC0415 - what only this needs

        traces = traces_from_logs(where, logs, message_id)
        known = "--route and --logs" if logs is not None else "the table: attempts of other messages are in logs only"
        hint = "check the id against ingest's answer, and give the workers' log: --logs FILE, or - for standard input"
    else:
        with open_folder_reader(where.data) as reader:
            traces = reader.traces(message_id)
        known = str(where.data)
        hint = "check the id against ingest's answer, and --data against that of `chaski dev`"
    if not traces:
        raise CommandError(f"nothing is known of {message_id} in {known}", next_step=hint)
    if as_json:
        emit_json(traces_json(traces))
        return Exit.OK
    for position, trace in enumerate(traces):
        if position:
            stdout().print()
        stdout().print(trace_view(trace))
    return Exit.OK


def _counted(found: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """The same; how many there were so far is told on a terminal while results go elsewhere."""
    console, results = stderr(), stdout()
    if not console.is_terminal or results.is_terminal:
        yield from found
        return
    with console.status("reading") as status:
        for count, letter in enumerate(found, 1):
            yield letter
            if count % _TOLD_EVERY == 0:
                status.update(f"{count} read")


def _moment(flag: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_ms)
    except ValueError as error:
        raise wrong_input(f"{flag}: {error}") from error


def _write_table(found: Iterable[DeadLetter]) -> None:
    listed = list(found)
    stdout().print(show.letters_table(listed) if listed else Text("no dead letter matches"))


def _write_json(found: Iterable[DeadLetter]) -> None:
    emit(show.json_list(found))


def _write_ndjson(found: Iterable[DeadLetter]) -> None:
    emit(show.json_text(letter) + "\n" for letter in found)


def _write_csv(found: Iterable[DeadLetter]) -> None:
    emit(itertools.chain([show.csv_header()], map(show.csv_text, found)))


def _write_raw_csv(found: Iterable[DeadLetter]) -> None:
    emit(itertools.chain([show.csv_header()], (show.csv_text(letter, raw=True) for letter in found)))


_WRITERS: dict[str, Callable[[Iterable[DeadLetter]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "raw-csv": _write_raw_csv,
}
