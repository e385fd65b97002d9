"""The command tree. What a command does is imported when it runs, so that help is fast (`tests/unit/cli/test_app.py`)."""

from collections.abc import Sequence
from typing import Annotated

import typer

from chaski_cli.commands.console import console, hash_password
from chaski_cli.commands.control.subjects import subjects
from chaski_cli.commands.control.targets import targets
from chaski_cli.commands.dead_letters import dead_letters
from chaski_cli.commands.dev import demo, dev, listen
from chaski_cli.commands.provision import deprovision, iam, provision
from chaski_cli.commands.send import send
from chaski_cli.commands.trace import ledger, trace
from chaski_cli.commands.validate import validate
from chaski_core import __version__


def version() -> None:
    """Print the version."""
    typer.echo(f"chaski {__version__}")


_COMMANDS = (
    dev,
    listen,
    send,
    trace,
    ledger,
    validate,
    console,
    hash_password,
    provision,
    deprovision,
    demo,
    version,
)
_GROUPS = {"dead-letters": dead_letters, "subjects": subjects, "targets": targets, "iam": iam}


def with_help_option(arguments: Sequence[str]) -> list[str]:
    """`chaski help` and `chaski help dev`, as `chaski --help` and `chaski dev --help`."""
    return [*arguments[1:], "--help"] if arguments[:1] == ["help"] else list(arguments)


def make_app(arguments: Sequence[str]) -> typer.Typer:
    """The application for a command line.

    A group whose command is given has no options of its own (--help, --install-completion): typer would check their values
    with pydantic, whose import takes 80 ms of CPU, also for the help of the command.
    """
    names = {command.__name__.replace("_", "-") for command in _COMMANDS} | set(_GROUPS)
    own_options = not names.intersection(arguments[:1])
    app = typer.Typer(
        name="chaski",
        help="Ordered, durable delivery of messages as HTTP requests.",
        epilog="Start with: chaski dev",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        add_completion=own_options,
        add_help_option=own_options,
        context_settings={"help_option_names": ["--help", "-h"]},  # of every command
    )
    app.callback()(_chaski)
    for name, group in _GROUPS.items():
        subcommands = {each.name or getattr(each.callback, "__name__", "") for each in group.registered_commands}
        app.add_typer(group, name=name, add_help_option=not subcommands.intersection(arguments[1:2]))
    for command in _COMMANDS:
        app.command()(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


def _chaski(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Ordered, durable delivery of messages as HTTP requests."""
