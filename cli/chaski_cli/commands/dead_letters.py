"""Flags of the `chaski dead-letters` commands."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from chaski_cli.options import Output, OutputFormat, Stored
from chaski_runtime.process.command import add_command
from chaski_runtime.process.command_error import ExitCode

if TYPE_CHECKING:
    from chaski_cli.dead_letters.selection import Search
    from chaski_replay.backends import BackendLocation

_Arguments = TypeVar("_Arguments", bound=Stored)

dead_letters = typer.Typer(
    help="Find messages whose retries are exhausted or that can't be delivered; replay them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class Format(StrEnum):
    """Output format of lists."""

    table = "table"
    wide = "wide"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"


_TIME_HELP = "RFC 3339, or an age: 15m, 2h, 7d."
_Since = Annotated[str | None, typer.Option(help=f"Dead-lettered at or after this time. {_TIME_HELP}", metavar="TIME")]
_Until = Annotated[str | None, typer.Option(help=f"Dead-lettered before this time. {_TIME_HELP}", metavar="TIME")]
_Subject = Annotated[str | None, typer.Option(help="With this subject (exact match).", metavar="SUBJECT")]
_Target = Annotated[str | None, typer.Option(help="With this target: the name of an allow rule.", metavar="NAME")]
_Class = Annotated[
    str | None,
    typer.Option("--class", help="With this first error: timeout, connection, 4xx, 404, ...", metavar="CLASS"),
]
_Text = Annotated[
    str | None, typer.Option(help="With this text anywhere in the message (case-insensitive).", metavar="TEXT")
]
_Replayed = Annotated[
    bool | None, typer.Option("--replayed/--not-replayed", help="Only those replayed, or not replayed.")
]
_Ids = Annotated[
    list[str] | None, typer.Argument(help="Message ids. Default: all that match the filter.", metavar="ID")
]
_All = Annotated[bool, typer.Option("--all", help="Without ids and filter: all dead letters.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Count and show a sample; change nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
_RawCsv = Annotated[
    bool, typer.Option("--raw-csv", help="With --output csv: do not quote values that a spreadsheet would evaluate.")
]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which dead letters are meant."""

    since: _Since = None
    until: _Until = None
    subject: _Subject = None
    target: _Target = None
    error_class: _Class = None
    text: _Text = None

    def search(self, replayed: bool | None = None) -> "Search":
        """For those that match."""
        from chaski_cli.dead_letters.selection import Search  # noqa: PLC0415 - keeps help fast

        return Search(self.since, self.until, self.subject, self.target, self.error_class, self.text, replayed)


@dataclass(frozen=True, kw_only=True)
class Listing(Matching):
    """How dead letters are listed."""

    replayed: _Replayed = None
    limit: Annotated[int, typer.Option(help="Maximum number of dead letters.", min=1, metavar="N")] = 100
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="List the oldest first.")] = False
    output: Annotated[
        Format, typer.Option("--output", "-o", help="Output format; `wide`: all columns, whole values.")
    ] = Format.table
    raw_csv: _RawCsv = False


@dataclass(frozen=True, kw_only=True)
class Replaying(Matching):
    """What is replayed, and how."""

    ids: _Ids = None
    every: _All = False
    to_url: Annotated[
        str | None, typer.Option(help="Send to this URL; if it has no path, each message keeps its own.", metavar="URL")
    ] = None
    rate: Annotated[float | None, typer.Option(help="Maximum messages per second.", min=0.01, metavar="N")] = None
    again: Annotated[bool, typer.Option("--again", help="Also replay those that another run has replayed.")] = False
    run: Annotated[str | None, typer.Option(help="Resume the replay with this name.", metavar="NAME")] = None
    progress_port: Annotated[
        int | None,
        typer.Option(help="Serve the progress at http://...:PORT/progress.", min=1, max=65535, metavar="PORT"),
    ] = None
    report: Annotated[Path | None, typer.Option(help="Also write the JSON report to this file.", metavar="FILE")] = None
    dry_run: _DryRun = False
    yes: _Yes = False
    output: OutputFormat = Output.table


def list_dead_letters(location: "BackendLocation", given: Listing) -> ExitCode:
    """Lists what matches."""
    return _run_list(location, given.search(given.replayed), given.limit, given, newest_first=not given.oldest_first)


def replay_dead_letters(location: "BackendLocation", given: Replaying) -> ExitCode:
    """Replays what is meant."""
    from chaski_cli.dead_letters.replay import ReplayOptions, run_replay  # noqa: PLC0415 - keeps help fast
    from chaski_replay.engine import Throttle, new_run_id  # noqa: PLC0415 - keeps help fast
    from chaski_replay.progress import ProgressReporting  # noqa: PLC0415 - keeps help fast
    from chaski_replay.selection import Run  # noqa: PLC0415 - keeps help fast

    options = ReplayOptions(
        given.search(),
        tuple(given.ids or ()),
        Run(given.run or new_run_id(), given.again, given.to_url),
        Throttle(given.rate),
        given.every,
        given.dry_run,
        given.yes,
        given.output is Output.json,
        ProgressReporting(given.progress_port, given.report),
    )
    return run_replay(location, options)


def _command(name: str, arguments: type[_Arguments]) -> Callable[[Callable[[_Arguments], ExitCode]], None]:
    """Adds a command whose help is the docstring of the function that runs it."""
    return lambda run: add_command(
        dead_letters, arguments, run, name=name, description=inspect.getdoc(run) or "", version=False
    )


@dataclass(frozen=True, kw_only=True)
class _List(Stored, Listing):
    pass


@_command("list", _List)
def _list(given: _List) -> ExitCode:
    """List dead letters, newest first.

    [bold]Example:[/] chaski dead-letters list --since 2h --class 5xx

    [bold]Example:[/] chaski dead-letters list --route shop/orders --output wide
    """
    return list_dead_letters(given.location(), given)


@dataclass(frozen=True, kw_only=True)
class _Show(Stored):
    message_id: Annotated[str, typer.Argument(help="Id of the message.", metavar="ID")]
    output: OutputFormat = Output.table


@_command("show", _Show)
def _show(given: _Show) -> ExitCode:
    """Show one dead letter: all its errors, and the whole message.

    [bold]Example:[/] chaski dead-letters show 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99
    """
    from chaski_cli.dead_letters.search import run_show  # noqa: PLC0415 - keeps help fast

    return run_show(given.location(), given.message_id, as_json=given.output is Output.json)


@dataclass(frozen=True, kw_only=True)
class _Export(Stored, Matching):
    replayed: _Replayed = None
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of dead letters. Default: all.", min=1, metavar="N")
    ] = None
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.ndjson
    raw_csv: _RawCsv = False


@_command("export", _Export)
def _export(given: _Export) -> ExitCode:
    """Write all matching dead letters to standard output, with their messages, oldest first.

    [bold]Example:[/] chaski dead-letters export --since 1d > failed.ndjson

    [bold]Example:[/] chaski dead-letters export --output csv > failed.csv
    """
    return _run_list(given.location(), given.search(given.replayed), given.limit, given, newest_first=False)


def _run_list(
    location: "BackendLocation", search: "Search", limit: int | None, given: Listing | _Export, *, newest_first: bool
) -> ExitCode:
    from chaski_cli.dead_letters.search import ListOptions, run_list  # noqa: PLC0415 - keeps help fast

    if given.raw_csv and given.output is not Format.csv:
        raise typer.BadParameter("--raw-csv requires --output csv")
    output = "raw-csv" if given.raw_csv else given.output.value
    return run_list(location, search, ListOptions(limit, output, newest_first))


@dataclass(frozen=True, kw_only=True)
class _Replay(Stored, Replaying):
    pass


@_command("replay", _Replay)
def _replay(given: _Replay) -> ExitCode:
    """Send dead letters again, those of a subject in the order in which they were accepted.

    Each is marked once its queue has acknowledged it. A run that is interrupted can be resumed: the command is printed.

    [bold]Example:[/] chaski dead-letters replay --target helpdesk --since 1d --dry-run

    [bold]Example:[/] chaski dead-letters replay --route shop/orders --class 5xx --yes
    """
    return replay_dead_letters(given.location(), given)


@dataclass(frozen=True, kw_only=True)
class _Discard(Stored, Matching):
    ids: _Ids = None
    every: _All = False
    replayed: _Replayed = None
    dry_run: _DryRun = False
    yes: _Yes = False
    output: OutputFormat = Output.table


@_command("discard", _Discard)
def _discard(given: _Discard) -> ExitCode:
    """Delete dead letters permanently.

    [bold]Example:[/] chaski dead-letters discard --class 404 --until 7d
    """
    from chaski_cli.dead_letters.discard import DiscardOptions, run_discard  # noqa: PLC0415 - keeps help fast

    options = DiscardOptions(
        given.search(given.replayed),
        tuple(given.ids or ()),
        given.every,
        given.dry_run,
        given.yes,
        given.output is Output.json,
    )
    return run_discard(given.location(), options)
