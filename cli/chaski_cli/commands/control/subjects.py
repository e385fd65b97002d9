"""Flags of the `chaski subjects` commands."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from chaski_cli.options import DEFAULT_DATA, Data, Output, OutputFormat, RouteFile
from chaski_runtime.process.command import add_command
from chaski_runtime.process.command_error import ExitCode

_Arguments = TypeVar("_Arguments", bound="_Stored")

subjects = typer.Typer(
    help="Subjects whose messages wait: attempt now, skip, hold, release.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_Subject = Annotated[str, typer.Argument(help="The subject (exact match).", metavar="SUBJECT")]
_Message = Annotated[
    str | None, typer.Option("--message", help="Identity of the message. Default: that at the head.", metavar="ID")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Where the records are."""

    data: Data = DEFAULT_DATA
    route: RouteFile = None
    name: Annotated[
        str | None,
        typer.Option(help="The route, where a data folder has several: namespace/name.", metavar="NAMESPACE/NAME"),
    ] = None
    output: OutputFormat = Output.table


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfSubject(_Stored):
    subject: _Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfMessage(_OfSubject):
    message: _Message = None


def _command(name: str, arguments: type[_Arguments]) -> Callable[[Callable[[_Arguments], ExitCode]], None]:
    """Adds a command whose help is the docstring of the function that runs it."""
    return lambda run: add_command(
        subjects, arguments, run, name=name, description=inspect.getdoc(run) or "", version=False
    )


@_command("list", _Stored)
def _list(given: _Stored) -> ExitCode:
    """List the subjects that wait: for a retry, for a person, or because a person holds them.

    [bold]Example:[/] chaski subjects list --output json
    """
    from chaski_cli.subjects.run import run_list  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    return run_list(BackendLocation(given.data, given.route), given.name, as_json=given.output is Output.json)


@_command("retry-now", _OfMessage)
def _retry_now(given: _OfMessage) -> ExitCode:
    """Attempt the message at the head of a subject now. It is its next retry, made early.

    [bold]Example:[/] chaski subjects retry-now order-17
    """
    return _decide(given, "retry-now", given.message)


@_command("skip", _OfMessage)
def _skip(given: _OfMessage) -> ExitCode:
    """Make the message at the head of a subject a dead letter, and go on with the next one.

    [bold]Example:[/] chaski subjects skip order-17
    """
    return _decide(given, "skip", given.message)


@_command("hold", _OfSubject)
def _hold(given: _OfSubject) -> ExitCode:
    """Attempt nothing of a subject until it is released. Its messages wait in order.

    [bold]Example:[/] chaski subjects hold order-17
    """
    return _decide(given, "hold", None)


@_command("release", _OfSubject)
def _release(given: _OfSubject) -> ExitCode:
    """Go on with a subject that a person holds.

    [bold]Example:[/] chaski subjects release order-17
    """
    return _decide(given, None, None)


def _decide(given: _OfSubject, action: str | None, message_id: str | None) -> ExitCode:
    from chaski_cli.subjects.run import Decision, run_decision  # noqa: PLC0415 - keeps help fast
    from chaski_core.retry.control import ControlAction  # noqa: PLC0415 - keeps help fast
    from chaski_replay.backends import BackendLocation  # noqa: PLC0415 - keeps help fast

    decided = None if action is None else ControlAction(action)
    decision = Decision(decided, given.subject, message_id, given.output is Output.json)
    return run_decision(BackendLocation(given.data, given.route), given.name, decision)
