"""Flags of `chaski trace` and `chaski ledger`: what became of messages."""

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


def ledger(
    data: Data = DEFAULT_DATA,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="URL of a /metrics page; give those of every ingest and worker of the route.", metavar="URL"),
    ] = None,
    route: RouteFile = None,
    accepted: Annotated[
        list[str] | None,
        typer.Option(help="Ingest's responses as JSON lines, or one id per line; - is standard input.", metavar="FILE"),
    ] = None,
    logs: Annotated[
        list[str] | None,
        typer.Option(
            help="With --accepted: the workers' JSON log lines, or ids that a target received.", metavar="FILE"
        ),
    ] = None,
    output: OutputFormat = Output.table,
) -> None:
    """Check that every accepted message was delivered, is a dead letter, was discarded, or is pending.

    On a data folder the result is exact, also after crashes. On AWS messages are matched by id with --accepted and --logs,
    exact after crashes too; or counted from the /metrics of all processes, where a killed process's counts are lost. Exit
    code 1 if a message is unaccounted for.

    [bold]Example:[/] chaski ledger

    [bold]Example:[/] chaski ledger --route resolved.yaml --accepted answers.ndjson --logs worker.log

    [bold]Example:[/] chaski ledger --route resolved.yaml --metrics http://ingest:9090/metrics --metrics http://worker:9090/metrics
    """
    from chaski_cli.ledger.accounts import run_folder, run_metrics  # noqa: PLC0415 - keeps help fast
    from chaski_cli.ledger.by_ids import run_ids  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    location = BackendLocation(data, route)
    as_json = output is Output.json
    if (logs and not accepted) or (accepted and (route is None or metrics)):
        raise typer.BadParameter("--accepted requires --route and --logs, and excludes --metrics")
    if accepted:
        raise typer.Exit(run_ids(location, accepted, logs or (), as_json=as_json))
    if route is not None and not metrics:
        raise typer.BadParameter(
            "with --route give --accepted and --logs, or --metrics with the /metrics URL of every ingest and worker"
        )
    code = run_metrics(metrics, location, as_json=as_json) if metrics else run_folder(location, as_json=as_json)
    raise typer.Exit(code)
