"""The `dead-letters` commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, RouteFile

dead_letters = typer.Typer(
    help="Find the messages whose retries are used up, or that can't be delivered; send them again.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class Format(StrEnum):
    """A table for people; JSON, JSON lines or CSV for machines."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"


_TIME_HELP = "RFC 3339, or how long ago: 15m, 2h, 7d."
_Since = Annotated[str | None, typer.Option(help=f"From this time on. {_TIME_HELP}", metavar="TIME")]
_Until = Annotated[str | None, typer.Option(help=f"Before this time. {_TIME_HELP}", metavar="TIME")]
_Subject = Annotated[str | None, typer.Option(help="Of exactly this subject.")]
_Target = Annotated[str | None, typer.Option(help="To the allow rule of this name.")]
_Class = Annotated[str | None, typer.Option("--class", help="First error: timeout, connection, 4xx, 404, ...")]
_Text = Annotated[str | None, typer.Option(help="With this text anywhere in the message, in any case.")]
_Replayed = Annotated[
    bool | None, typer.Option("--replayed/--not-replayed", help="Only those that were, or were not, sent again.")
]
_Ids = Annotated[list[str] | None, typer.Argument(help="Ids of messages; all that match unless given.", metavar="ID")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Count and show a sample; change nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_RawCsv = Annotated[
    bool, typer.Option("--raw-csv", help="With --output csv: no quote before what a spreadsheet would calculate.")
]
_Output = Annotated[Output, typer.Option(help="For people or for machines.")]


def _writer(output: Format, raw_csv: bool) -> str:
    if not raw_csv:
        return output.value
    if output is not Format.csv:
        raise typer.BadParameter("--raw-csv goes with --output csv")
    return "raw-csv"


@dead_letters.command("list")
def list_letters(  # noqa: PLR0913 - one parameter for each option of the command
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
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    output: Annotated[Format, typer.Option(help="For people or for machines.")] = Format.table,
    raw_csv: _RawCsv = False,
) -> None:
    """List dead letters, oldest first.

    [bold]Example:[/] chaski dead-letters list --since 2h --class 5xx
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick
    from chaski_cli.dead_letters.command import Search, run_list  # noqa: PLC0415 - as above

    search = Search(since, until, subject, target, error_class, text, replayed)
    raise typer.Exit(run_list(BackendLocation(data, route), search, limit, _writer(output, raw_csv)))


@dead_letters.command("show")
def show_letter(
    message_id: Annotated[str, typer.Argument(help="Id of the message.", metavar="ID")],
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    output: _Output = Output.table,
) -> None:
    """Show one dead letter: every error met, and the whole message.

    [bold]Example:[/] chaski dead-letters show 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick
    from chaski_cli.dead_letters.command import run_show  # noqa: PLC0415 - as above

    raise typer.Exit(run_show(BackendLocation(data, route), message_id, as_json=output is Output.json))


@dead_letters.command("export")
def export_letters(  # noqa: PLR0913 - one parameter for each option of the command
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
    limit: Annotated[int | None, typer.Option(help="At most so many; all unless given.", min=1)] = None,
    output: Annotated[Format, typer.Option(help="ndjson, json or csv.")] = Format.ndjson,
    raw_csv: _RawCsv = False,
) -> None:
    """Write all dead letters that match to standard output, whole.

    [bold]Example:[/] chaski dead-letters export --since 1d > failed.ndjson

    [bold]Example:[/] chaski dead-letters export --output csv > failed.csv
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick
    from chaski_cli.dead_letters.command import Search, run_list  # noqa: PLC0415 - as above

    search = Search(since, until, subject, target, error_class, text, replayed)
    raise typer.Exit(run_list(BackendLocation(data, route), search, limit, _writer(output, raw_csv)))


@dead_letters.command("replay")
def replay_letters(  # noqa: PLR0913 - one parameter for each option of the command
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
        str | None, typer.Option(help="Send to this URL; without a path each message keeps its own.", metavar="URL")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="At most so many messages a second.", min=0.01)] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    run: Annotated[str | None, typer.Option(help="Go on with the replay of this name.")] = None,
    progress_port: Annotated[
        int | None, typer.Option(help="Tell how far it is at http://...:PORT/progress.", min=1, max=65535)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the JSON result here too.", metavar="FILE")] = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    output: _Output = Output.table,
) -> None:
    """Send dead letters again, each subject's in the order in which they were accepted.

    Each is marked once its queue has it. Where this is interrupted, it says how to go on.

    [bold]Example:[/] chaski dead-letters replay --target helpdesk --since 1d --dry-run
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick
    from chaski_cli.dead_letters.command import Search  # noqa: PLC0415 - as above
    from chaski_cli.replay.command import ReplayOptions, new_run, run_replay  # noqa: PLC0415 - as above
    from chaski_cli.replay.engine import Throttle  # noqa: PLC0415 - as above
    from chaski_cli.replay.progress import ProgressReporting  # noqa: PLC0415 - as above
    from chaski_cli.replay.selection import Run  # noqa: PLC0415 - as above

    search = Search(since, until, subject, target, error_class, text)
    named = Run(run or new_run(), again, to_url)
    telling = ProgressReporting(progress_port, report)
    asked = ReplayOptions(search, tuple(ids or ()), named, Throttle(rate), dry_run, yes, output is Output.json, telling)
    raise typer.Exit(run_replay(BackendLocation(data, route), asked))


@dead_letters.command("discard")
def discard_letters(  # noqa: PLR0913 - one parameter for each option of the command
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
    output: _Output = Output.table,
) -> None:
    """Delete dead letters for good.

    [bold]Example:[/] chaski dead-letters discard --class 404 --until 7d
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick
    from chaski_cli.dead_letters.command import Search  # noqa: PLC0415 - as above
    from chaski_cli.replay.discard import Discard, run_discard  # noqa: PLC0415 - as above

    search = Search(since, until, subject, target, error_class, text, replayed)
    asked = Discard(search, tuple(ids or ()), dry_run, yes, output is Output.json)
    raise typer.Exit(run_discard(BackendLocation(data, route), asked))
