"""Flags of the `chaski dead-letters` commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, OutputFormat, RouteFile

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


@dead_letters.command("list")
def list_dead_letters(  # noqa: PLR0913 - one parameter per option of the command
    *,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    replayed: _Replayed = None,
    limit: Annotated[int, typer.Option(help="Maximum number of dead letters.", min=1)] = 100,
    output: Annotated[Format, typer.Option(help="Output format: `table`, `json`, `ndjson` or `csv`.")] = Format.table,
    raw_csv: _RawCsv = False,
) -> None:
    """List dead letters, oldest first.

    [bold]Example:[/] chaski dead-letters list --since 2h --class 5xx
    """
    from chaski_cli.dead_letters.search import Search, run_list  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    search = Search(since, until, subject, target, error_class, text, replayed)
    raise typer.Exit(run_list(BackendLocation(data, route), search, limit, _writer(output, raw_csv)))


@dead_letters.command("show")
def show_dead_letter(
    message_id: Annotated[str, typer.Argument(help="Id of the message.", metavar="ID")],
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    output: OutputFormat = Output.table,
) -> None:
    """Show one dead letter: all its errors, and the whole message.

    [bold]Example:[/] chaski dead-letters show 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99
    """
    from chaski_cli.dead_letters.search import run_show  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_show(BackendLocation(data, route), message_id, as_json=output is Output.json))


@dead_letters.command("export")
def export_dead_letters(  # noqa: PLR0913 - one parameter per option of the command
    *,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    replayed: _Replayed = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of dead letters. Default: all.", min=1)] = None,
    output: Annotated[Format, typer.Option(help="Output format: `ndjson`, `json` or `csv`.")] = Format.ndjson,
    raw_csv: _RawCsv = False,
) -> None:
    """Write all matching dead letters to standard output, with their messages.

    [bold]Example:[/] chaski dead-letters export --since 1d > failed.ndjson

    [bold]Example:[/] chaski dead-letters export --output csv > failed.csv
    """
    from chaski_cli.dead_letters.search import Search, run_list  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    search = Search(since, until, subject, target, error_class, text, replayed)
    raise typer.Exit(run_list(BackendLocation(data, route), search, limit, _writer(output, raw_csv)))


@dead_letters.command("replay")
def replay_dead_letters(  # noqa: PLR0913 - one parameter per option of the command
    *,
    ids: _Ids = None,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    to_url: Annotated[
        str | None, typer.Option(help="Send to this URL; if it has no path, each message keeps its own.", metavar="URL")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Maximum messages per second.", min=0.01)] = None,
    again: Annotated[bool, typer.Option("--again", help="Also replay those that another run has replayed.")] = False,
    run: Annotated[str | None, typer.Option(help="Resume the replay with this name.")] = None,
    progress_port: Annotated[
        int | None, typer.Option(help="Serve the progress at http://...:PORT/progress.", min=1, max=65535)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write the JSON report to this file.", metavar="FILE")
    ] = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    output: OutputFormat = Output.table,
) -> None:
    """Send dead letters again, those of a subject in the order in which they were accepted.

    Each is marked once its queue has acknowledged it. A run that is interrupted can be resumed: the command is printed.

    [bold]Example:[/] chaski dead-letters replay --target helpdesk --since 1d --dry-run
    """
    from chaski_cli.dead_letters.replay import ReplayOptions, run_replay  # noqa: PLC0415 - keeps help fast
    from chaski_cli.dead_letters.search import Search  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast
    from chaski_replay.engine import Throttle, new_run_id  # noqa: PLC0415 - keeps help fast
    from chaski_replay.progress import ProgressReporting  # noqa: PLC0415 - keeps help fast
    from chaski_replay.selection import Run  # noqa: PLC0415 - keeps help fast

    search = Search(since, until, subject, target, error_class, text)
    replay = Run(run or new_run_id(), again, to_url)
    reporting = ProgressReporting(progress_port, report)
    as_json = output is Output.json
    options = ReplayOptions(search, tuple(ids or ()), replay, Throttle(rate), dry_run, yes, as_json, reporting)
    raise typer.Exit(run_replay(BackendLocation(data, route), options))


@dead_letters.command("discard")
def discard_dead_letters(  # noqa: PLR0913 - one parameter per option of the command
    *,
    ids: _Ids = None,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    replayed: _Replayed = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    output: OutputFormat = Output.table,
) -> None:
    """Delete dead letters permanently.

    [bold]Example:[/] chaski dead-letters discard --class 404 --until 7d
    """
    from chaski_cli.dead_letters.discard import DiscardOptions, run_discard  # noqa: PLC0415 - keeps help fast
    from chaski_cli.dead_letters.search import Search  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    search = Search(since, until, subject, target, error_class, text, replayed)
    options = DiscardOptions(search, tuple(ids or ()), dry_run, yes, output is Output.json)
    raise typer.Exit(run_discard(BackendLocation(data, route), options))
