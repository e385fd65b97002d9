"""Commands whose standard output is closed, full or unread."""

import asyncio
import csv
import io
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from acceptance.cli_process import CHASKI, chaski, dev, eventually, target, write_route

COMMANDS = {
    "version": "--version",
    "help": "--help",
    "validate": "validate {route}",
    "validate as JSON": "validate --output json {route}",
    "list": "dead-letters list --data {data}",
    "list as JSON": "dead-letters list --output json --data {data}",
    "show": "dead-letters show one --data {data}",
    "export": "dead-letters export --data {data}",
    "export as CSV": "dead-letters export --output csv --data {data}",
    "replay": "dead-letters replay --dry-run --data {data}",
    "discard": "dead-letters discard --dry-run --data {data}",
    "ledger": "ledger --data {data}",
    "trace": "trace one --data {data}",
    "trace by subject": "trace --subject s --data {data} --output json",
}
WRITTEN_AT_ONCE = (
    "version",
    "validate as JSON",
    "show",
    "trace",
)  # the others fail at the end, when everything is written
ENOUGH_ON_EACH_RUN = ("version", "list", "export")  # a flag, the buffered way and a long text; the rest is for landings
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}
UNBUFFERED = {**os.environ, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A route and a data folder with two dead letters."""
    path = tmp_path_factory.mktemp("output")

    async def make() -> None:
        async with target() as there:
            there.status = 500
            route = write_route(path, there.url, retry={"rungs": [], "ladders": []})
            async with dev(route, path / "data") as running:
                to = ("--to", running.ingest, "--route", "default/first", "--url", there.url)
                for name, subject in (("one", "s"), ("two", "=1+1")):
                    sent = await chaski("send", *to, "--id", name, "--subject", subject)
                    assert sent.code == 0, sent.err

                async def dead() -> bool | None:
                    listed = await chaski("dead-letters", "list", "--data", path / "data", "--output", "ndjson")
                    return len(listed.out.splitlines()) == 2 or None

                await eventually(dead)

    asyncio.run(make())
    return path


def written(command: str, folder: Path, environment: Mapping[str, str], redirection: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output is redirected by a shell."""
    arguments = command.format(route=folder / "route.yaml", data=folder / "data")
    ended = subprocess.run(
        ["/bin/sh", "-c", f"'{CHASKI}' {arguments} {redirection}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=90,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=() if name in ENOUGH_ON_EACH_RUN else pytest.mark.landing) for name in COMMANDS],
)
def test_a_full_disk_ends_a_command_with_one_sentence(folder: Path, command: str) -> None:
    """A result that can't be written is a failure; no traceback, also none at exit of the interpreter."""
    environment = UNBUFFERED if command in WRITTEN_AT_ONCE else BUFFERED
    code, err = written(COMMANDS[command], folder, environment, "> /dev/full")
    assert (code, err) == (1, "chaski: can't write to standard output: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_standard_output_ends_a_command_at_its_start(folder: Path, command: str) -> None:
    """Or the next opened file would get its descriptor."""
    code, err = written(command, folder, BUFFERED, ">&-")
    assert (code, err) == (1, "chaski: standard output is closed\nnext: redirect it to a file, a pipe or /dev/null\n")


@pytest.mark.parametrize("command", ["ledger --data {data}", "dead-letters export --data {data}"])
@pytest.mark.parametrize(
    "redirection",
    [pytest.param("<&-", marks=pytest.mark.landing), pytest.param("2>&-", marks=pytest.mark.landing), "<&- 2>&-"],
)
def test_other_closed_streams_are_harmless(folder: Path, command: str, redirection: str) -> None:
    """The command neither reads input nor reports errors."""
    assert written(command, folder, BUFFERED, f"> /dev/null {redirection}") == (0, "")


@pytest.mark.parametrize("command", ["send --route a/b - <&-", "send --route a/b -"])
def test_a_closed_standard_input_is_empty(folder: Path, command: str) -> None:
    """It has no messages."""
    code, err = written(command, folder, BUFFERED, "> /dev/null")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("environment", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_broken_pipe_ends_a_command_quietly(folder: Path, environment: Mapping[str, str]) -> None:
    """For example with `head`."""
    _, err = written("dead-letters export --data {data}", folder, environment, "| true")
    assert err == ""


def test_a_file_that_cannot_be_written_is_named(folder: Path) -> None:
    """On any full disk the error names the file."""
    path = folder / "wrong.ndjson"
    path.write_bytes(b"?\n")
    code, err = written(
        f"send --route a/b --skip-unreadable --rejected /dev/full {path}", folder, BUFFERED, ">/dev/null"
    )
    assert code == 1
    assert "chaski: --rejected /dev/full: No space left on device" in err
    assert "Traceback" not in err


async def test_a_spreadsheet_evaluates_nothing_of_an_export_unless_it_is_raw(folder: Path) -> None:
    """Formulas are quoted; programs can ask for the raw text."""
    export = ("dead-letters", "export", "--data", folder / "data", "--subject", "=1+1", "--output")
    for arguments, subject in ((("csv",), "'=1+1"), (("csv", "--raw-csv"), "=1+1")):
        (row,) = csv.DictReader(io.StringIO((await chaski(*export, *arguments)).out))
        assert row["subject"] == subject
    assert orjson.loads((await chaski(*export, "ndjson")).out)["subject"] == "=1+1"
    refused = await chaski(*export, "json", "--raw-csv")
    assert refused.code == 2
    assert "--output csv" in refused.err
