"""The command tree: help of every command is fast, because it imports flags only."""

import os
import resource
import subprocess
import sys

import pytest

HELPS = [
    ["--help"],
    ["dead-letters", "--help"],
    *(["dead-letters", each, "--help"] for each in ("list", "show", "export", "replay", "discard")),
    ["targets", "--help"],
    *(["targets", each, "--help"] for each in ("list", "hold", "release")),
    *(["iam", each, "--help"] for each in ("policy", "trust")),
    ["subjects", "--help"],
    *(["subjects", each, "--help"] for each in ("list", "retry-now", "skip", "hold", "release")),
    *(
        [each, "--help"]
        for each in (
            "send",
            "console",
            "hash-password",
            "provision",
            "deprovision",
            "dev",
            "demo",
            "validate",
            "ledger",
            "trace",
        )
    ),
]
# Python modules that cost time and that no help needs.
HEAVY = {
    "kubernetes",
    "pydantic",
    "aiohttp",
    "asyncio",
    "boto3",
    "botocore",
    "jsonschema",
    "orjson",
    "sqlite3",
    "yaml",
    "uvloop",
}


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_imports_typer_and_the_flags_only(arguments: list[str]) -> None:
    """The cost of help is its imports: 0.2 s of CPU with them, a second and more with a backend."""
    script = (
        "import sys; sys.argv = ['chaski', *sys.argv[1:]]\n"
        "from chaski_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as exit_: assert not exit_.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    modules = ended.stderr.split()
    assert "Usage" in ended.stdout
    assert HEAVY & set(modules) == set()
    ours = {each for each in modules if each.startswith("chaski_")}
    assert {each for each in ours if not each.startswith("chaski_cli")} <= {
        "chaski_core", "chaski_core.errors", "chaski_runtime", "chaski_runtime.process",
        "chaski_runtime.process.command", "chaski_runtime.process.command_error",
    }  # fmt: skip
    assert {each.split(".")[1] for each in ours if each.startswith("chaski_cli.")} == {
        "__main__", "app", "commands", "options"
    }  # fmt: skip


def test_help_takes_little_cpu_time() -> None:
    """At most 0.3 s on a machine of our own; three times that here, where tests run side by side."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "chaski_cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.9


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["sned"], "chaski_cli --help"),
        (["send", "--retry-for", "soon"], "chaski_cli send --help"),
        (["dead-letters", "lsit"], "chaski_cli dead-letters --help"),
        (["dead-letters", "show"], "chaski_cli dead-letters show --help"),
    ],
    ids=["unknown command", "invalid option", "unknown subcommand", "missing argument"],
)
def test_a_usage_error_names_the_help_to_read(arguments: list[str], hint: str) -> None:
    """Of the group where the command is unknown, else of the command."""
    ended = subprocess.run(
        [sys.executable, "-m", "chaski_cli", *arguments], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert hint in ended.stderr


def test_completion_is_installed_by_an_option() -> None:
    """A shell's completion script then runs the program without arguments."""
    command = [sys.executable, "-m", "chaski_cli", "--show-completion", "bash"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "complete" in ended.stdout
    environment = {**os.environ, "_CHASKI_COMPLETE": "complete_bash", "COMP_WORDS": "chaski dead-l", "COMP_CWORD": "1"}
    script = "import sys; sys.argv = ['chaski']; from chaski_cli.__main__ import main; main()"
    completed = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=environment
    )
    assert completed.stdout.split() == ["dead-letters"]
