"""Flags of `chaski console`, and of `chaski hash-password`, which writes its password file."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chaski_cli.options import deprecated
from chaski_runtime.process.command import LogFormat, LogFormatOption


class Auth(StrEnum):
    """How users authenticate."""

    none = "none"
    header = "header"
    password = "password"  # noqa: S105 - a choice of the command line


_AUTH = (
    "password: the users in --password-file; header: the user named by the proxy in front; none: every client, so the"
    " console then listens on a loopback address only."
)


_Resolved = Annotated[
    list[Path] | None,
    typer.Option(help="File of resolved routes on AWS, or a folder of such files; repeatable.", metavar="FILE|DIR"),
]
_Route = Annotated[list[Path] | None, typer.Option(hidden=True)]  # of releases up to 0.1
_Kubernetes = Annotated[bool, typer.Option("--kubernetes", help="All ChaskiRoutes of the cluster; follows changes.")]
_Namespace = Annotated[
    list[str] | None,
    typer.Option(help="With --kubernetes: only routes of this namespace; repeatable.", metavar="NS"),
]
_PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help="With --auth password: file of lines from `chaski hash-password`; reloaded when it changes.",
        metavar="FILE",
    ),
]
_SessionSeconds = Annotated[int, typer.Option(help="Lifetime of a login, in seconds.", min=1)]
_AuthHeader = Annotated[str, typer.Option(help="With --auth header: the header in which the proxy names the user.")]
_Prometheus = Annotated[
    str | None,
    typer.Option(
        help="URL of the Prometheus that scrapes the routes' processes; without it rates are not shown.", metavar="URL"
    ),
]
_MetricsPort = Annotated[
    int | None,
    typer.Option(help="Port for /healthz, /readyz and /metrics; 0 picks a free one. Default: none.", min=0, max=65535),
]


def console(  # noqa: PLR0913 - one parameter per option of the command
    *,
    resolved: _Resolved = None,
    route: _Route = None,
    kubernetes: _Kubernetes = False,
    namespace: _Namespace = None,
    auth: Annotated[Auth, typer.Option(help=_AUTH)],
    password_file: _PasswordFile = None,
    session_seconds: _SessionSeconds = 43_200,
    auth_header: _AuthHeader = "X-Forwarded-User",
    prometheus: _Prometheus = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Disable replay and discard.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; empty: every address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for the console; 0 picks a free one.", min=0, max=65535)] = 8081,
    metrics_port: _MetricsPort = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
) -> None:
    """Run the web console for routes on AWS: live queues; dead letters with search, replay and discard.

    `chaski dev` includes a console.

    [bold]Examples:[/] chaski console --resolved resolved.yaml --auth none

    chaski console --kubernetes --auth password --password-file users --host ''
    """
    from chaski_cli.dead_letters.replay import allowed_by  # noqa: PLC0415 - keeps help quick
    from chaski_console.process.options import AuthOptions, ConsoleOptions, RouteOptions  # noqa: PLC0415 - as above
    from chaski_console.process.service import run_console  # noqa: PLC0415 - as above

    for file in route or ():
        deprecated("--route FILE|DIR", f"--resolved {file}")
    routes = RouteOptions((*(resolved or ()), *(route or ())), kubernetes, tuple(namespace or ()))
    authentication = AuthOptions(auth.value, auth_header, password_file, session_seconds)
    options = ConsoleOptions(routes, host, port, metrics_port, authentication, read_only, log_format.value, prometheus)
    raise typer.Exit(run_console(options, allowed_by))


def hash_password(
    name: Annotated[str, typer.Argument(help="Name of the user.", metavar="NAME", show_default=False)],
) -> None:
    """Print a user's line for the password file of `chaski console`: the name and the argon2id hash of the password.

    Asks for the password twice, or reads it from the first line of standard input.

    [bold]Examples:[/] chaski hash-password ada >> users

    pass show chaski/ada | chaski hash-password ada >> users
    """
    from chaski_console.auth.passwords import user_line  # noqa: PLC0415 - keeps help quick
    from chaski_runtime.process.command_error import wrong_input  # noqa: PLC0415 - as above

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        try:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise wrong_input("the password on standard input is not UTF-8 text") from error
    try:
        typer.echo(user_line(name, password))
    except ValueError as error:
        raise wrong_input(str(error)) from error
