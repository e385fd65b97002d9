"""Flags of `chaski dev`."""

from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import DEFAULT_DATA, Routes
from chaski_runtime.process.command import LogFormat, LogFormatOption, LogLevel, LogLevelOption

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


def dev(  # noqa: PLR0913 - one parameter per option of the command
    *,
    routes: Routes,
    data: Annotated[Path, typer.Option(help="Folder for messages.", metavar="DIR")] = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on; empty: every address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for messages; 0 picks a free one.", min=0, max=65535)] = 8080,
    metrics_port: Annotated[
        int, typer.Option(help="Port for /metrics, /healthz and /readyz; 0 picks a free one.", min=0, max=65535)
    ] = 9090,
    secrets: Annotated[
        Path | None, typer.Option(help="Folder with one folder per Secret that a route names.", metavar="DIR")
    ] = None,
    console_port: Annotated[
        int | None,
        typer.Option(
            help="Port for the console; 0 picks a free one. Default: 8081, or a free one if it is in use.",
            min=0,
            max=65535,
            show_default=False,
        ),
    ] = None,
    visibility_seconds: Visibility = None,
    log_content_chars: LogContent = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Run Chaski on this machine: ingest and workers in one process, messages in one SQLite file.

    Accepted messages survive a crash of the process: start it again with the same --data.

    [bold]Example:[/] chaski dev examples/first-route.yaml
    """
    from chaski_cli.dev.process import DevOptions, run_dev  # noqa: PLC0415 - keeps help fast
    from chaski_worker.settings import WorkerOverrides  # noqa: PLC0415 - keeps help fast

    options = DevOptions(
        routes=tuple(routes),
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
