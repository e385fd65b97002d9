"""How every service's command reads flags and environment variables, and how it ends.

The arguments of a command are a frozen dataclass. Each field is an option; its annotation has typer's description of it:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Arguments:
        port: Annotated[int, typer.Option(envvar="CHASKI_PORT", help="Port.", min=0, max=65535)] = 8080

A flag takes precedence over its environment variable; an empty variable counts as not set.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from chaski_core import __version__
from chaski_core.errors import ChaskiError, InvalidInputError
from chaski_runtime.process.command_error import CommandError, ExitCode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SERVICE = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}\Z")
_Arguments = TypeVar("_Arguments", bound="DataclassInstance")


class LogFormat(StrEnum):
    """Format of log lines."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """Minimum log level."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


HOST_DEFAULT = "every address, IPv4 and IPv6"  # shown for the default of --host, `http_server.EVERY_ADDRESS`
_VersionOption = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="Format of log lines.")]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="Minimum log level.")]
MetricsPortOption = Annotated[
    int,
    typer.Option("--metrics-port", help="Port of health and metrics; 0: any free port.", min=0, max=65535, metavar="N"),
]


def pair(text: str) -> tuple[str, str]:
    """A parser for options of the form `NAME=VALUE`.

    Raises:
        typer.BadParameter: the text has another form.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f'"{text}" is not NAME=VALUE')
    return name, value


def check_service(flag: str, text: str) -> None:
    """Checks an option of the form `NAMESPACE/SERVICE`; an empty text is none.

    Raises:
        typer.BadParameter: the text has another form.
    """
    if text and not _SERVICE.match(text):
        raise typer.BadParameter(f'{flag}: "{text}" is not NAMESPACE/SERVICE')


def json_objects(text: str) -> tuple[dict[str, Any], ...]:
    """A parser for options that are a JSON list of objects; an empty text is an empty list.

    Raises:
        typer.BadParameter: the text is something else.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise typer.BadParameter(f"it is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise typer.BadParameter(f"{text} is not a JSON list of objects")
    return tuple(found)


def comma_separated(name: str, environment: Mapping[str, str] = os.environ) -> Callable[[], list[Any]]:
    """A default for a repeatable option: the entries of a variable when the command runs, which its parser gets too."""
    return lambda: [each.strip() for each in environment.get(name, "").split(",") if each.strip()]


def service_app(name: str, *, description: str = "") -> typer.Typer:
    """An application for the commands of one service, without shell completion.

    Args:
        name: the program's.
        description: for the help of a service with several commands. A service with one has that command's description.
    """
    app = typer.Typer(
        name=name,
        help=description or None,
        no_args_is_help=bool(description),
        add_completion=False,
        rich_markup_mode=None,  # plain text: lines of boxes are cut at 80 columns in a container
        pretty_exceptions_enable=False,
    )
    if description:
        app.callback()(_service)
    return app


def add_command(
    app: typer.Typer,
    arguments: type[_Arguments],
    run: Callable[[_Arguments], int],
    *,
    name: str,
    description: str,
    version: bool = True,
) -> None:
    """Adds a command with an option for each field of `arguments`.

    Args:
        app: of `service_app`.
        arguments: a frozen dataclass whose fields are annotated with `typer.Option`.
        run: called with the parsed arguments; returns the exit code.
        name: the command's.
        description: for its help.
        version: whether it has `--version`.
    """
    hints = get_type_hints(arguments, include_extras=True)
    parameters = [_parameter(field.name, hints[field.name], _default(field)) for field in fields(arguments)]
    if version:
        parameters.append(_parameter("version", _VersionOption, False))

    def command(**values: Any) -> None:
        values.pop("version", None)
        raise typer.Exit(run(arguments(**values)))

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(name, help=description)(command)


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Runs an application. Expected errors are printed as a sentence.

    Args:
        app: of `service_app`.
        arguments: of the command line; default: the process's.

    Returns:
        The exit code: 0 stopped on request, 1 the command could not run, 2 a wrong argument or input.
    """
    try:
        app(arguments, prog_name=app.info.name)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ExitCode.OK
    except InvalidInputError as error:
        return _print_error(app, error, ExitCode.WRONG_INPUT)
    except CommandError as error:
        return _print_error(app, error, error.exit_code)
    except (ChaskiError, OSError) as error:
        return _print_error(app, error, ExitCode.FAILED)
    return ExitCode.OK


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _service(*, _version: _VersionOption = False) -> None:
    pass


def _print_error(app: typer.Typer, error: Exception, code: int) -> int:
    sys.stderr.write(f"{app.info.name}: {error}\n")
    return code
