"""Flags of the `chaski subjects` commands."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from chaski_cli.options import (
    ListFormat,
    ListOutput,
    Output,
    OutputFormat,
    Stored,
    deprecated,
    location_of,
)
from chaski_runtime.process.command import add_command
from chaski_runtime.process.command_error import ExitCode

if TYPE_CHECKING:
    from chaski_replay.backends import BackendLocation

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


_Name = Annotated[str | None, typer.Option("--name", hidden=True)]  # of releases up to 0.1


@dataclass(frozen=True, kw_only=True)
class _Stored(Stored):
    """Where the records are."""

    name: _Name = None

    def location(self) -> "BackendLocation":
        if self.name is not None:
            deprecated("--name", f"--route {self.name}")
        return location_of(self.data, self.resolved, self.route if self.name is None else self.name)


@dataclass(frozen=True, kw_only=True)
class _List(_Stored):
    output: ListFormat = ListOutput.table


@dataclass(frozen=True, kw_only=True)
class _OfSubject(_Stored):
    subject: _Subject
    output: OutputFormat = Output.table


@dataclass(frozen=True, kw_only=True)
class _OfMessage(_OfSubject):
    message: _Message = None


def _command(name: str, arguments: type[_Arguments]) -> Callable[[Callable[[_Arguments], ExitCode]], None]:
    """Adds a command whose help is the docstring of the function that runs it."""
    return lambda run: add_command(
        subjects, arguments, run, name=name, description=inspect.getdoc(run) or "", version=False
    )


@_command("list", _List)
def _list(given: _List) -> ExitCode:
    """List the subjects that wait: for a retry, for a person, or because a person holds them.

    [bold]Example:[/] chaski subjects list

    [bold]Example:[/] chaski subjects list --route shop/orders --output wide
    """
    return list_subjects(given.location(), given.output)


def list_subjects(location: "BackendLocation", output: ListOutput) -> ExitCode:
    """Lists the subjects that wait."""
    from chaski_cli.subjects.run import run_list  # noqa: PLC0415 - keeps help fast

    return run_list(location, output.value)


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

    decided = None if action is None else ControlAction(action)
    decision = Decision(decided, given.subject, message_id, given.output is Output.json)
    return run_decision(given.location(), decision)
