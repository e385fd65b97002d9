"""Flags, environment variables, errors and exit codes of the services' commands."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer

from chaski_core import __version__
from chaski_core.errors import BackendUnavailableError, FieldError, InvalidInputError
from chaski_runtime.process.command import add_command, comma_separated, pair, run_app, service_app
from chaski_runtime.process.command_error import wrong_input


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Of a command with a required, an optional and a repeatable option."""

    image: Annotated[str, typer.Option(envvar="X_IMAGE", help="Image.")]
    seconds: Annotated[float, typer.Option(envvar="X_SECONDS", min=0, max=60, help="Seconds.")] = 3.0
    names: Annotated[list[str], typer.Option("--name", help="A name.")] = field(
        default_factory=comma_separated("X_NAMES")
    )
    pairs: Annotated[list[tuple], typer.Option("--pair", parser=pair, help="A pair.")] = field(  # type: ignore[type-arg]
        default_factory=comma_separated("X_PAIRS")
    )


def run(*arguments: str, error: Exception | None = None) -> tuple[int, list[Arguments]]:
    """The exit code, and the arguments that the command got."""
    got: list[Arguments] = []

    def command(given: Arguments) -> int:
        got.append(given)
        if error is not None:
            raise error
        return 0

    app = service_app("chaski-x")
    add_command(app, Arguments, command, name="chaski-x", description="Does x.")
    return run_app(app, arguments), got


def test_a_flag_takes_precedence_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without both the default counts. Entries of a list are separated by commas; a flag replaces the whole list."""
    assert run("--image", "i")[1] == [Arguments(image="i", names=[], pairs=[])]
    for name, value in {"X_IMAGE": "e", "X_SECONDS": "4", "X_NAMES": "a, b,", "X_PAIRS": "k=v=w,l=m"}.items():
        monkeypatch.setenv(name, value)
    expected = Arguments(image="e", seconds=4.0, names=["a", "b"], pairs=[("k", "v=w"), ("l", "m")])
    assert run()[1] == [expected]
    given = run("--image", "i", "--seconds", "5", "--name", "c", "--pair", "n=o,p")[1]
    assert given == [Arguments(image="i", seconds=5.0, names=["c"], pairs=[("n", "o,p")])]


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart sets variables for values that are empty."""
    for name in ("X_SECONDS", "X_NAMES"):
        monkeypatch.setenv(name, "")
    assert run("--image", "i")[1] == [Arguments(image="i", names=[], pairs=[])]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--image"),
        (["--image", "i", "--seconds", "61"], "--seconds"),
        (["--image", "i", "--seconds", "nan"], "--seconds"),
        (["--image", "i", "--seconds", "soon"], "--seconds"),
        (["--image", "i", "--pair", "kv"], "NAME=VALUE"),
        (["--image", "i", "--nope"], "--nope"),
    ],
    ids=str,
)
def test_a_wrong_argument_ends_with_two(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the flag; the command does not run."""
    assert run(*arguments) == (2, [])
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError([FieldError("spec.queues", "is empty")]), 2),
        (wrong_input("--route x: No such file"), 2),
        (BackendUnavailableError("SQS is unavailable"), 1),
        (OSError(98, "Address already in use"), 1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_expected_errors_are_sentences_with_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on the error output, after the program's name."""
    assert run("--image", "i", error=error)[0] == code
    assert capsys.readouterr().err == f"chaski-x: {error}\n"


def test_help_and_version_end_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    """Help names each variable, and no line is cut."""
    assert run("--version") == (0, [])
    assert __version__ in capsys.readouterr().out
    assert run("--help") == (0, [])
    shown = capsys.readouterr().out
    assert "X_IMAGE" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
