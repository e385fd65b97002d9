"""Flags of the `chaski dead-letters` commands."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, OutputFormat, RouteFile
from chaski_runtime.process.command import add_command
from chaski_runtime.process.command_error import ExitCode

if TYPE_CHECKING:
    from chaski_cli.dead_letters.search import Search
    from chaski_replay.backends import BackendLocation

_Arguments = TypeVar("_Arguments", bound="_Stored")

dead_letters = typer.Typer(
    help="Find messages whose retries are exhausted or that can't be delivered; replay them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class Format(StrEnum):
    """Output format of lists."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"


_TIME_HELP = "RFC 3339, or an age: 15m, 2h, 7d."
_Since = Annotated[str | None, typer.Option(help=f"Dead-lettered at or after this time. {_TIME_HELP}", metavar="TIME")]
_Until = Annotated[str | None, typer.Option(help=f"Dead-lettered before this time. {_TIME_HELP}", metavar="TIME")]
_Subject = Annotated[str | None, typer.Option(help="With this subject (exact match).")]
_Target = Annotated[str | None, typer.Option(help="With this target: the name of an allow rule.")]
_Class = Annotated[
    str | None, typer.Option("--class", help="With this first error: timeout, connection, 4xx, 404, ...")
]
_Text = Annotated[str | None, typer.Option(help="With this text anywhere in the message (case-insensitive).")]
_Replayed = Annotated[
    bool | None, typer.Option("--replayed/--not-replayed", help="Only those replayed, or not replayed.")
]
_Ids = Annotated[list[str] | None, typer.Argument(help="Message ids. Default: all that match.", metavar="ID")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Count and show a sample; change nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
_RawCsv = Annotated[
    bool, typer.Option("--raw-csv", help="With --output csv: do not quote values that a spreadsheet would evaluate.")
]


def _writer(output: Format, raw_csv: bool) -> str:
    if not raw_csv:
        return output.value
    if output is not Format.csv:
        raise typer.BadParameter("--raw-csv requires --output csv")
    return "raw-csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Where the dead letters are."""

    data: Data = DEFAULT_DATA
    route: RouteFile = None

    def location(self) -> "BackendLocation":
        """Of their store."""
        from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

        return BackendLocation(self.data, self.route)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matching(_Stored):
    """Which dead letters are meant."""

    since: _Since = None
    until: _Until = None
    subject: _Subject = None
    target: _Target = None
    error_class: _Class = None
    text: _Text = None

    def search(self, replayed: bool | None = None) -> "Search":
        """For those that match."""
        from chaski_cli.dead_letters.search import Search  # noqa: PLC0415 - keeps help fast

        return Search(self.since, self.until, self.subject, self.target, self.error_class, self.text, replayed)


def _command(name: str, arguments: type[_Arguments]) -> Callable[[Callable[[_Arguments], ExitCode]], None]:
    """Adds a command whose help is the docstring of the function that runs it."""
    return lambda run: add_command(
        dead_letters, arguments, run, name=name, description=inspect.getdoc(run) or "", version=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _List(_Matching):
    replayed: _Replayed = None
    limit: Annotated[int, typer.Option(help="Maximum number of dead letters.", min=1)] = 100
    output: Annotated[Format, typer.Option(help="Output format: `table`, `json`, `ndjson` or `csv`.")] = Format.table
    raw_csv: _RawCsv = False


@_command("list", _List)
def _list(given: _List) -> ExitCode:
    """List dead letters, oldest first.

    [bold]Example:[/] chaski dead-letters list --since 2h --class 5xx
    """
    return _run_list(given, given.replayed, given.limit, _writer(given.output, given.raw_csv))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Show(_Stored):
    message_id: Annotated[str, typer.Argument(help="Id of the message.", metavar="ID")]
    output: OutputFormat = Output.table


@_command("show", _Show)
def _show(given: _Show) -> ExitCode:
    """Show one dead letter: all its errors, and the whole message.

    [bold]Example:[/] chaski dead-letters show 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99
    """
    from chaski_cli.dead_letters.search import run_show  # noqa: PLC0415 - keeps help fast

    return run_show(given.location(), given.message_id, as_json=given.output is Output.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Export(_Matching):
    replayed: _Replayed = None
    limit: Annotated[int | None, typer.Option(help="Maximum number of dead letters. Default: all.", min=1)] = None
    output: Annotated[Format, typer.Option(help="Output format: `ndjson`, `json` or `csv`.")] = Format.ndjson
    raw_csv: _RawCsv = False


@_command("export", _Export)
def _export(given: _Export) -> ExitCode:
    """Write all matching dead letters to standard output, with their messages.

    [bold]Example:[/] chaski dead-letters export --since 1d > failed.ndjson

    [bold]Example:[/] chaski dead-letters export --output csv > failed.csv
    """
    return _run_list(given, given.replayed, given.limit, _writer(given.output, given.raw_csv))


def _run_list(given: _Matching, replayed: bool | None, limit: int | None, writer: str) -> ExitCode:
    from chaski_cli.dead_letters.search import run_list  # noqa: PLC0415 - keeps help fast

    return run_list(given.location(), given.search(replayed), limit, writer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replay(_Matching):
    ids: _Ids = None
    to_url: Annotated[
        str | None, typer.Option(help="Send to this URL; if it has no path, each message keeps its own.", metavar="URL")
    ] = None
    rate: Annotated[float | None, typer.Option(help="Maximum messages per second.", min=0.01)] = None
    again: Annotated[bool, typer.Option("--again", help="Also replay those that another run has replayed.")] = False
    run: Annotated[str | None, typer.Option(help="Resume the replay with this name.")] = None
    progress_port: Annotated[
        int | None, typer.Option(help="Serve the progress at http://...:PORT/progress.", min=1, max=65535)
    ] = None
    report: Annotated[Path | None, typer.Option(help="Also write the JSON report to this file.", metavar="FILE")] = None
    dry_run: _DryRun = False
    yes: _Yes = False
    output: OutputFormat = Output.table


@_command("replay", _Replay)
def _replay(given: _Replay) -> ExitCode:
    """Send dead letters again, those of a subject in the order in which they were accepted.

    Each is marked once its queue has acknowledged it. A run that is interrupted can be resumed: the command is printed.

    [bold]Example:[/] chaski dead-letters replay --target helpdesk --since 1d --dry-run
    """
    from chaski_cli.dead_letters.replay import ReplayOptions, run_replay  # noqa: PLC0415 - keeps help fast
    from chaski_replay.engine import Throttle, new_run_id  # noqa: PLC0415 - keeps help fast
    from chaski_replay.progress import ProgressReporting  # noqa: PLC0415 - keeps help fast
    from chaski_replay.selection import Run  # noqa: PLC0415 - keeps help fast

    options = ReplayOptions(
        given.search(),
        tuple(given.ids or ()),
        Run(given.run or new_run_id(), given.again, given.to_url),
        Throttle(given.rate),
        given.dry_run,
        given.yes,
        given.output is Output.json,
        ProgressReporting(given.progress_port, given.report),
    )
    return run_replay(given.location(), options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Discard(_Matching):
    ids: _Ids = None
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
        given.search(given.replayed), tuple(given.ids or ()), given.dry_run, given.yes, given.output is Output.json
    )
    return run_discard(given.location(), options)
