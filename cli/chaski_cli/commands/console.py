"""The command that runs the console as a process of its own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Auth(StrEnum):
    """How people show who they are."""

    none = "none"
    header = "header"
    password = "password"  # noqa: S105 - a word of the command line


_AUTH = (
    "password: whom --password-file names; header: whom the proxy in front names; none: whoever reaches the port, which"
    " is then one of this machine only."
)


class LogFormat(StrEnum):
    """How log lines look."""

    console = "console"
    json = "json"


def console(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    route: Annotated[
        list[Path] | None,
        typer.Option(help="Resolved route on AWS, or a folder of them; repeatable.", metavar="FILE|DIR"),
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="All ChaskiRoutes of a cluster, as they come and go.")
    ] = False,
    namespace: Annotated[
        list[str] | None, typer.Option(help="With --kubernetes: only its routes; repeatable.", metavar="NS")
    ] = None,
    auth: Annotated[Auth, typer.Option(help=_AUTH)],
    password_file: Annotated[
        Path | None,
        typer.Option(help="Lines name:password, for --auth password; read again when it changes.", metavar="FILE"),
    ] = None,
    session_seconds: Annotated[int, typer.Option(help="How long somebody stays signed in.", min=1)] = 43_200,
    auth_header: Annotated[str, typer.Option(help="Header in which the proxy names the user.")] = "X-Forwarded-User",
    prometheus: Annotated[
        str | None, typer.Option(help="Prometheus that scrapes the routes' processes: shows rates.", metavar="URL")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="No replay and no discard.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8081,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port for /healthz, /readyz and /metrics; 0 takes a free one.", min=0, max=65535)
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Log lines for people or for machines.")] = LogFormat.console,
) -> None:
    """Run the console over routes on AWS: queues live, dead letters with search, replay and discard.

    `chaski dev` has one of its own.

    [bold]Examples:[/] chaski console --route resolved.yaml --auth none

    chaski console --kubernetes --auth password --password-file users --host 0.0.0.0
    """
    from chaski_cli.console.access import Access  # noqa: PLC0415 - keeps help quick
    from chaski_cli.console.process import ConsoleOptions, Shown, run_console  # noqa: PLC0415 - as above

    access = Access(auth.value, auth_header, password_file, session_seconds)
    shown = Shown(tuple(route or ()), kubernetes, tuple(namespace or ()))
    options = ConsoleOptions(shown, host, port, metrics_port, access, read_only, log_format.value, prometheus)
    raise typer.Exit(run_console(options))
