"""Flags of `chaski ledger`."""

from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, OutputFormat, RouteFile


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
