"""Flags of `chaski dev`, of its target `chaski listen`, and of `chaski demo`, which runs it."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Output, OutputFormat
from chaski_runtime.process.command import LogFormat, LogFormatOption, LogLevel, LogLevelOption

_Routes = Annotated[
    list[Path] | None,
    typer.Argument(
        help="ChaskiRoute files; each may hold several documents. Default: a built-in route to this machine.",
        show_default=False,
    ),
]
_Allow = Annotated[
    list[str] | None,
    typer.Option(help="Without route files: another target that the built-in route allows; repeatable.", metavar="URL"),
]
Visibility = Annotated[
    int | None,
    typer.Option(
        envvar="CHASKI_VISIBILITY_SECONDS",
        help="Seconds that the messages of a killed process stay hidden.",
        min=2,
        max=120,
        show_default="as long as an attempt may take",
    ),
]


LogContent = Annotated[
    int | None,
    typer.Option(
        envvar="CHASKI_LOG_CONTENT_CHARS",
        help="Characters of contents in the log lines of attempts.",
        min=0,
        max=8192,
        show_default="0",
    ),
]


def _port(purpose: str, usual: int) -> typer.models.OptionInfo:
    option = typer.Option(
        help=f"Port {purpose}; 0 picks a free one. Default: {usual}, or a free one if it is in use.",
        min=0,
        max=65535,
        show_default=False,
        metavar="N",
    )
    assert isinstance(option, typer.models.OptionInfo)  # noqa: S101 - typer declares it as Any
    return option


def dev(  # noqa: PLR0913 - one parameter per option of the command
    *,
    routes: _Routes = None,
    allow: _Allow = None,
    data: Annotated[Path, typer.Option(help="Folder for messages.", metavar="DIR")] = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on; empty: every address.")] = "127.0.0.1",
    port: Annotated[int | None, _port("for messages", 8080)] = None,
    metrics_port: Annotated[int | None, _port("for /metrics, /healthz and /readyz", 9090)] = None,
    secrets: Annotated[
        Path | None, typer.Option(help="Folder with one folder per Secret that a route names.", metavar="DIR")
    ] = None,
    console_port: Annotated[int | None, _port("for the console", 8081)] = None,
    visibility_seconds: Visibility = None,
    log_content_chars: LogContent = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Run Chaski on this machine: ingest and workers in one process, messages in one SQLite file.

    Accepted messages survive a crash of the process: start it again with the same --data.

    A route file that changes is used at once. Without files, messages may go to http://127.0.0.1:9000/ (where `chaski dev` responds with 200 itself, unless another server does), to `chaski listen`, and to every --allow.

    [bold]Example:[/] chaski dev

    [bold]Example:[/] chaski dev --allow http://127.0.0.1:3000/

    [bold]Example:[/] chaski dev examples/first-route.yaml
    """
    from chaski_cli.dev.process import DevOptions, run_dev  # noqa: PLC0415 - keeps help fast
    from chaski_worker.settings import WorkerOverrides  # noqa: PLC0415 - keeps help fast

    options = DevOptions(
        routes=tuple(routes or ()),
        allow=tuple(allow or ()),
        data=data,
        host=host,
        port=port,
        metrics_port=metrics_port,
        console_port=console_port,
        log_format=log_format.value,
        log_level=log_level.value,
        secrets=secrets,
        overrides=WorkerOverrides(visibility_seconds, log_content_chars),
    )
    raise typer.Exit(run_dev(options))


def listen(
    *,
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535, metavar="N")
    ] = 9001,
    host: Annotated[str, typer.Option(help="Address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    status: Annotated[int, typer.Option(help="Status of every response.", min=200, max=599, metavar="STATUS")] = 200,
    delay: Annotated[
        str, typer.Option(help="Time before each response, such as 300ms, 2s or 1m.", metavar="TIME")
    ] = "0s",
    output: OutputFormat = Output.table,
) -> None:
    """Be a target: respond to every request, and print it.

    It shows what Chaski sends, and with --status and --delay what Chaski does when a target fails or is slow. A `chaski dev` without route files allows it at http://127.0.0.1:9001/.

    [bold]Example:[/] chaski listen --status 503 --delay 2s
    """
    from chaski_cli.dev.listen import ListenOptions, run_listen  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_listen(ListenOptions(host, port, status, delay, as_json=output is Output.json)))


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Keep messages and logs in this folder; it must be empty.", metavar="DIR")
    ] = None,
) -> None:
    """Send 200 messages to a target that fails in three ways, and check the outcome of each.

    Takes about 70 seconds. Exit code 0 if and only if every figure is exact.

    [bold]Example:[/] chaski demo
    """
    from chaski_cli.demo.run import run_demo  # noqa: PLC0415 - keeps help fast

    raise typer.Exit(run_demo(data, as_json=as_json))
