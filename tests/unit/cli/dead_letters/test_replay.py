"""The command line of a replay: what the operator and the resume command build is what the command accepts."""

import shlex
from pathlib import Path

import typer

from chaski_cli.commands.dead_letters import dead_letters
from chaski_core.timestamps import timestamp
from chaski_replay.arguments import ReplayArguments, job_command
from chaski_replay.backends import BackendLocation

ARGUMENTS = ReplayArguments(
    run="run1",
    since=1_000,
    until=2_000,
    subject="--yes",
    target="t",
    error_class="5xx",
    text="a b",
    to_url="https://new.example",
    rate=20,
    again=True,
    dry_run=True,
    ids=("-1", "m2"),
)
FLAGS = {
    "run": "run1",
    "since": timestamp(1_000),
    "until": timestamp(2_000),
    "subject": "--yes",
    "target": "t",
    "error_class": "5xx",
    "text": "a b",
    "to_url": "https://new.example",
    "rate": 20.0,
    "again": True,
}


def parsed(arguments: list[str]) -> dict[str, object]:
    """The parameters that the command gets; a usage error fails the test."""
    command = typer.main.get_command(dead_letters).commands["replay"]  # type: ignore[attr-defined]
    parameters: dict[str, object] = command.make_context("replay", arguments).params
    return parameters


def test_the_command_accepts_what_the_operator_gives_a_job() -> None:
    """Every flag, also with values and ids that start with --."""
    words = [*job_command("/etc/route.yaml"), *ARGUMENTS.job_arguments(9090, "/dev/termination-log")]
    assert words[:3] == ["chaski", "dead-letters", "replay"]
    parameters = parsed(words[3:])
    expected = FLAGS | {
        "resolved": Path("/etc/route.yaml"),
        "route": None,
        "progress_port": 9090,
        "report": Path("/dev/termination-log"),
        "yes": True,
        "dry_run": True,
        "ids": ["-1", "m2"],
    }
    assert {name: parameters[name] for name in expected} == expected
    assert str(parameters["output"]) == "json"


def test_the_command_accepts_its_own_resume_command() -> None:
    """The same run on the same location."""
    arguments = ReplayArguments(
        **{field: getattr(ARGUMENTS, field) for field in ReplayArguments.__slots__ if field not in ("ids", "subject")},
        ids=("m1",),
        subject="a b",
    )
    words = shlex.split(
        arguments.resume_command(BackendLocation(Path("my data"), route="ns/r").command("dead-letters", "replay"))
    )
    parameters = parsed(words[3:])
    expected = FLAGS | {"data": Path("my data"), "route": "ns/r", "ids": ["m1"], "subject": "a b", "dry_run": False}
    assert {name: parameters[name] for name in expected} == expected
