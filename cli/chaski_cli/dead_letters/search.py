"""Runs `chaski dead-letters list`, `show` and `export`. A `chaski dev` may be running on the data folder."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.text import Text

from chaski_cli.dead_letters import formats
from chaski_cli.dead_letters.source import open_source
from chaski_cli.output import emit, stderr, stdout
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.timestamps import parse_time
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_PROGRESS_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Search:
    """Which dead letters, as given on the command line."""

    since: str | None = None
    until: str | None = None
    subject: str | None = None
    target: str | None = None
    error_class: str | None = None
    text: str | None = None
    replayed: bool | None = None

    def filter(self, now_ms: int) -> DeadLetterFilter:
        """The parsed filter. Raises CommandError for an invalid time."""
        return DeadLetterFilter(
            since=_parse_time("--since", self.since, now_ms),
            until=_parse_time("--until", self.until, now_ms),
            subject=self.subject,
            target=self.target,
            error_class=self.error_class,
            text=self.text,
            replayed=self.replayed,
        )


def run_list(location: BackendLocation, search: Search, limit: int | None, output: str) -> ExitCode:
    """Writes the matching dead letters, oldest first."""
    wanted = search.filter(SystemClock().now_ms())
    with open_source(location) as source:
        found = source.find(wanted)
        _WRITERS[output](_counted(itertools.islice(found, limit)))
        if next(found, None) is not None:
            stderr().print(
                f"more than {limit} dead letters match; narrow the search, or increase --limit", style="yellow"
            )
    return ExitCode.OK


def run_show(location: BackendLocation, message_id: str, *, as_json: bool) -> ExitCode:
    """Shows every dead letter of an identity or label, including those of replays."""
    with open_source(location) as source:
        found = source.get(message_id)
    if not found:
        raise CommandError(
            f"no dead letter with id {message_id} in {location.name}",
            next_step=f"show its attempts: chaski trace {message_id} {' '.join(location.flags)}",
        )
    if as_json:
        _write_json(found)
    else:
        for dead_letter in found:
            stdout().print(formats.dead_letter_view(dead_letter))
    return ExitCode.OK


def _counted(found: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Passes dead letters through; prints their number to a terminal if results go elsewhere."""
    console, results = stderr(), stdout()
    if not console.is_terminal or results.is_terminal:
        yield from found
        return
    with console.status("reading") as status:
        for count, dead_letter in enumerate(found, 1):
            yield dead_letter
            if count % _PROGRESS_EVERY == 0:
                status.update(f"{count} read")


def _parse_time(flag: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_ms)
    except ValueError as error:
        raise wrong_input(f"{flag}: {error}") from error


def _write_table(found: Iterable[DeadLetter]) -> None:
    listed = list(found)
    stdout().print(formats.dead_letters_table(listed) if listed else Text("no dead letters match"))


def _write_json(found: Iterable[DeadLetter]) -> None:
    emit(formats.json_list(found))


def _write_ndjson(found: Iterable[DeadLetter]) -> None:
    emit(formats.json_text(each) + "\n" for each in found)


def _write_csv(found: Iterable[DeadLetter]) -> None:
    emit(itertools.chain([formats.csv_header()], map(formats.csv_text, found)))


def _write_raw_csv(found: Iterable[DeadLetter]) -> None:
    emit(itertools.chain([formats.csv_header()], (formats.csv_text(each, raw=True) for each in found)))


_WRITERS: dict[str, Callable[[Iterable[DeadLetter]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "raw-csv": _write_raw_csv,
}
