"""Runs `chaski dead-letters list`, `show` and `export`. A `chaski dev` may be running on the data folder."""

import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.text import Text

from chaski_cli.dead_letters import formats
from chaski_cli.dead_letters.selection import Search, check_known_target
from chaski_cli.dead_letters.source import open_source
from chaski_cli.output import emit, stderr, stdout
from chaski_core.dead_letter import DeadLetter
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode

_PROGRESS_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How dead letters are listed."""

    limit: int | None
    output: str  # a key of `_WRITERS`
    newest_first: bool


def run_list(location: BackendLocation, search: Search, options: ListOptions) -> ExitCode:
    """Writes the matching dead letters.

    Raises:
        CommandError: the search is invalid, or names a target or a route that does not exist.
    """
    wanted = search.filter(SystemClock().now_ms(), location.route)
    with open_source(location) as (source, routes):
        found = source.find(wanted, newest_first=options.newest_first)
        first = next(found, None)
        if first is None:
            check_known_target(wanted, routes)
        found = found if first is None else itertools.chain([first], found)
        _WRITERS[options.output](_counted(itertools.islice(found, options.limit)))
        if next(found, None) is not None:
            which = "newest" if options.newest_first else "oldest"
            note = f"more than {options.limit} dead letters match, and these are the {which}; narrow the search, or increase --limit"
            stderr().print(note, style="yellow")
    return ExitCode.OK


def run_show(location: BackendLocation, message_id: str, *, as_json: bool) -> ExitCode:
    """Shows every dead letter of an identity or label, including those of replays."""
    with open_source(location) as (source, _):
        found = [each for each in source.get(message_id) if location.route in (None, each.route)]
    if not found:
        raise CommandError(
            f"no dead letter with id {message_id} in {location.name}",
            next_step=f"show its attempts: {shlex.join([*location.command('trace'), message_id])}",
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


def _write_table(found: Iterable[DeadLetter]) -> None:
    listed = list(found)
    now_ms = SystemClock().now_ms()
    stdout().print(formats.dead_letters_table(listed, now_ms) if listed else Text("no dead letters match"))


def _write_wide(found: Iterable[DeadLetter]) -> None:
    listed = list(found)
    stdout().print(formats.wide_table(listed) if listed else Text("no dead letters match"))


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
    "wide": _write_wide,
    "json": _write_json,
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "raw-csv": _write_raw_csv,
}
