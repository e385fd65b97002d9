"""The commands: what can be asked, with which options. What they do is imported only when they run, so help is quick."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.commands.console import console
from chaski_cli.commands.dead_letters import dead_letters
from chaski_cli.commands.provision import deprovision, provision
from chaski_cli.commands.send import send
from chaski_cli.options import DEFAULT_DATA, Data, Output, RouteFile
from chaski_core import __version__

app = typer.Typer(
    name="chaski",
    help="Ordered, durable delivery of messages as HTTP requests.",
    epilog="Start with: chaski demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
)

app.add_typer(dead_letters, name="dead-letters")
app.command()(send)
app.command()(console)
app.command()(provision)
app.command()(deprovision)


class LogFormat(StrEnum):
    """How log lines look."""

    console = "console"
    json = "json"


class LogLevel(StrEnum):
    """The least important lines shown."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chaski {__version__}")
        raise typer.Exit


@app.callback()
def chaski(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Ordered, durable delivery of messages as HTTP requests."""


@app.command()
def dev(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    routes: Annotated[list[Path], typer.Argument(help="ChaskiRoute files; each may hold several documents.")],
    data: Annotated[Path, typer.Option(help="Where messages are kept.", metavar="DIR")] = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for messages; 0 takes a free one.", min=0, max=65535)] = 8080,
    metrics_port: Annotated[int, typer.Option(help="Port for /metrics, /healthz, /readyz.", min=0, max=65535)] = 9090,
    secrets: Annotated[
        Path | None, typer.Option(help="Folder with one folder for each Secret that a route names.", metavar="DIR")
    ] = None,
    console_port: Annotated[
        int | None,
        typer.Option(
            help="Port for the console; 0 takes a free one. Default: 8081, or a free one.",
            min=0,
            max=65535,
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Log lines for people or for machines.")] = LogFormat.console,
    log_level: Annotated[LogLevel, typer.Option(help="The least important lines shown.")] = LogLevel.info,
) -> None:
    """Run Chaski on this machine: ingest and workers in one process, messages in one SQLite file.

    Nothing accepted is lost, however the process ends; start it again with the same --data.

    [bold]Example:[/] chaski dev examples/first-route.yaml
    """
    from chaski_cli.dev.command import DevOptions, run_dev  # noqa: PLC0415 - keeps help quick

    options = DevOptions(
        tuple(routes), data, host, port, metrics_port, console_port, log_format.value, log_level.value, secrets
    )
    raise typer.Exit(run_dev(options))


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    data: Annotated[Path | None, typer.Option(help="Keep messages and logs here, in an empty folder.")] = None,
) -> None:
    """Send 200 messages to a target that fails in three ways, and check what came of each.

    Takes about 70 seconds. Exit code 0 only when every figure is exact.

    [bold]Example:[/] chaski demo
    """
    from chaski_cli.demo.run import run_demo  # noqa: PLC0415 - keeps help quick

    raise typer.Exit(run_demo(data, as_json=as_json))


@app.command()
def validate(
    routes: Annotated[list[Path], typer.Argument(help="ChaskiRoute files; each may hold several documents.")],
    output: Annotated[Output, typer.Option(help="For people or for machines.")] = Output.table,
) -> None:
    """Check route files by the rules that the Kubernetes API server applies; name every fault.

    Exit code 2 where there is one.

    [bold]Example:[/] chaski validate examples/*.yaml
    """
    from chaski_cli.commands.validate import run_validate  # noqa: PLC0415 - keeps help quick

    raise typer.Exit(run_validate(routes, as_json=output is Output.json))


@app.command()
def ledger(
    data: Data = DEFAULT_DATA,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="URL of a /metrics page; of every ingest and worker of the route.", metavar="URL"),
    ] = None,
    route: RouteFile = None,
    accepted: Annotated[
        list[str] | None,
        typer.Option(
            help="Ingest's answers as JSON lines, or ids, one a line; - reads standard input.", metavar="FILE"
        ),
    ] = None,
    logs: Annotated[
        list[str] | None,
        typer.Option(help="With --accepted: the workers' JSON lines, or ids that a target took.", metavar="FILE"),
    ] = None,
    output: Annotated[Output, typer.Option(help="For people or for machines.")] = Output.table,
) -> None:
    """Check that everything accepted was delivered, is a dead letter, or is pending.

    Of a data folder it is exact over any crash. On AWS it goes by ids with --accepted and --logs, over any crash too; or by
    the /metrics of all processes, which forget what a killed process counted. Exit code 1 where something is not accounted
    for.

    [bold]Example:[/] chaski ledger

    [bold]Example:[/] chaski ledger --route resolved.yaml --accepted answers.ndjson --logs worker.log

    [bold]Example:[/] chaski ledger --route resolved.yaml --metrics http://ingest:9090/metrics --metrics http://worker:9090/metrics
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - as above
    from chaski_cli.ledger.by_ids import run_ids  # noqa: PLC0415 - as above
    from chaski_cli.ledger.command import run_folder, run_metrics  # noqa: PLC0415 - keeps help quick

    where = BackendLocation(data, route)
    as_json = output is Output.json
    if (logs and not accepted) or (accepted and (route is None or metrics)):
        raise typer.BadParameter("--accepted goes with --route and --logs, and not with --metrics")
    if accepted:
        raise typer.Exit(run_ids(where, accepted, logs or (), as_json=as_json))
    if route is not None and not metrics:
        raise typer.BadParameter(
            "with --route give --accepted and --logs, or the /metrics of every ingest and worker, each with --metrics"
        )
    raise typer.Exit(run_metrics(metrics, where, as_json=as_json) if metrics else run_folder(where, as_json=as_json))


@app.command()
def trace(  # noqa: PLR0913 - one parameter for each option of the command
    message_id: Annotated[
        str | None, typer.Argument(help="Id of the message, as ingest answered it.", metavar="ID")
    ] = None,
    *,
    data: Data = DEFAULT_DATA,
    route: RouteFile = None,
    logs: Annotated[
        str | None, typer.Option(help="JSON log lines of workers; - reads standard input.", metavar="FILE")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="In place of ID: all messages of exactly this subject.")] = None,
    text: Annotated[
        str | None, typer.Option(help="In place of ID: messages with this text in them, in any case.")
    ] = None,
    output: Annotated[Output, typer.Option(help="For people or for machines.")] = Output.table,
) -> None:
    """Show every attempt of a message, and what became of it; or of the messages of a subject, or with a text.

    On AWS attempts stand in the workers' logs only; dead letters are read from the route's table.

    [bold]Example:[/] chaski trace 019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99

    [bold]Example:[/] chaski trace --text jane@example.com
    """
    from chaski_cli.backends import BackendLocation  # noqa: PLC0415 - keeps help quick

    where, as_json = BackendLocation(data, route), output is Output.json
    if message_id is not None and subject is None and text is None:
        from chaski_cli.dead_letters.command import run_trace  # noqa: PLC0415 - as above

        raise typer.Exit(run_trace(where, logs, message_id, as_json=as_json))
    if message_id is not None or (subject is None and text is None):
        raise typer.BadParameter("give an ID, or --subject, --text or both")
    from chaski_cli.trace.search import Sought, run_search  # noqa: PLC0415 - as above

    raise typer.Exit(run_search(where, logs, Sought(subject, text), as_json=as_json))
