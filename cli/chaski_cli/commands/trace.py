"""Flags of `chaski trace`."""

from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, OutputFormat, RouteFile


def trace(  # noqa: PLR0913 - one parameter per option of the command
    message_id: Annotated[
        str | None, typer.Argument(help="Id of the message, from ingest's response.", metavar="ID")
    ] = None,
    *,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    logs: Annotated[
        str | None, typer.Option(help="JSON log lines of workers; - is standard input.", metavar="FILE")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Instead of ID: all messages of this subject (exact match).")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Instead of ID: messages that contain this text (case-insensitive).")
    ] = None,
    output: OutputFormat = Output.table,
) -> None:
    """Show every attempt of a message and its outcome. Finds messages by id, subject or text.

    On AWS attempts are recorded in the workers' logs only; dead letters are read from the route's table.

    [bold]Example:[/] chaski trace 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99

    [bold]Example:[/] chaski trace --text jane@example.com
    """
    from chaski_cli.trace.search import MessageQuery, run_search, run_trace  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    location, as_json = BackendLocation(data, route), output is Output.json
    if message_id is not None and subject is None and text is None:
        raise typer.Exit(run_trace(location, logs, message_id, as_json=as_json))
    if message_id is not None or (subject is None and text is None):
        raise typer.BadParameter("give either ID, or --subject, --text or both")
    raise typer.Exit(run_search(location, logs, MessageQuery(subject, text), as_json=as_json))
