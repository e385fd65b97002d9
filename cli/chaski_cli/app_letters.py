"""The `dead-letters` commands."""

from enum import StrEnum
from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output

dead_letters = typer.Typer(
    help="Find the messages whose retries are used up, or that can't be delivered.",
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


@dead_letters.command("list")
def list_letters(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    data: Data = DEFAULT_DATA,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    output: Annotated[Format, typer.Option(help="For people or for machines.")] = Format.table,
) -> None:
    """List dead letters, oldest first.

    [bold]Example:[/] chaski dead-letters list --since 2h --class 5xx
    """
    from chaski_cli.stored import Search, run_list  # noqa: PLC0415 - keeps help quick

    search = Search(since, until, subject, target, error_class, text)
    raise typer.Exit(run_list(data, search, limit, output.value))


@dead_letters.command("show")
def show_letter(
    message_id: Annotated[str, typer.Argument(help="Id of the message.", metavar="ID")],
    data: Data = DEFAULT_DATA,
    output: Annotated[Output, typer.Option(help="For people or for machines.")] = Output.table,
) -> None:
    """Show one dead letter: every error met, and the whole message.

    [bold]Example:[/] chaski dead-letters show 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99
    """
    from chaski_cli.stored import run_show  # noqa: PLC0415 - keeps help quick

    raise typer.Exit(run_show(data, message_id, as_json=output is Output.json))


@dead_letters.command("export")
def export_letters(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    data: Data = DEFAULT_DATA,
    since: _Since = None,
    until: _Until = None,
    subject: _Subject = None,
    target: _Target = None,
    error_class: _Class = None,
    text: _Text = None,
    limit: Annotated[int | None, typer.Option(help="At most so many; all unless given.", min=1)] = None,
    output: Annotated[Format, typer.Option(help="ndjson, json or csv.")] = Format.ndjson,
) -> None:
    """Write all dead letters that match to standard output, whole.

    [bold]Example:[/] chaski dead-letters export --since 1d > failed.ndjson

    [bold]Example:[/] chaski dead-letters export --output csv > failed.csv
    """
    from chaski_cli.stored import Search, run_list  # noqa: PLC0415 - keeps help quick

    search = Search(since, until, subject, target, error_class, text)
    raise typer.Exit(run_list(data, search, limit, output.value))
