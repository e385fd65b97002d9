"""Runs `chaski demo`: starts the processes, sends, waits until all messages are settled, prints the figures."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from chaski_cli.demo import experiment
from chaski_cli.demo.processes import Dev, dev_process, target_process
from chaski_cli.demo.report import print_result
from chaski_cli.output import emit_result, stderr, stdout
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_replay.backends import open_folder_reader
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_LIMIT_SECONDS = 180.0
_QUIET_SECONDS = 4.0  # longer than the longest rung: a surplus retry would still arrive and be counted
_POLL_SECONDS = 0.25
_PROGRESS_SECONDS = 10.0  # without a terminal for a progress bar


def run_demo(data: Path | None, *, as_json: bool) -> ExitCode:
    """Runs the experiment and prints its result; OK if and only if every figure is exact."""
    started = time.monotonic()
    try:
        with _folder(data) as folder:
            result = asyncio.run(_experiment(folder, stderr()))
    except asyncio.CancelledError:  # SIGTERM
        return ExitCode.INTERRUPTED
    if as_json:
        emit_result(result.as_json(), indented=True)
    else:
        print_result(stdout(), result, time.monotonic() - started)
    return ExitCode.OK if result.exact else ExitCode.FAILED


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="chaski-demo-") as folder:
            yield Path(folder)
        return
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise wrong_input(f"{data} is not an empty folder", "give a folder that does not exist yet, or omit --data")
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield data


def _end_on_sigterm() -> None:
    # Cancellation also ends the started processes.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _experiment(folder: Path, console: Console) -> experiment.Result:
    _end_on_sigterm()
    async with target_process() as target, aiohttp.ClientSession() as http:
        route = folder / "route.yaml"  # JSON is YAML
        route.write_bytes(orjson.dumps(experiment.route_document(target), option=orjson.OPT_INDENT_2))
        data = folder / "data"
        console.print(f"target at {target}: responds with 200, 400, 500 or not at all, and counts its requests")
        async with dev_process(route, data, folder / "dev.log") as dev:
            console.print(f"chaski dev at {dev.ingest}, metrics at {dev.metrics}, log in {dev.log}")
            try:
                await _send_and_settle(http, dev, experiment.messages(target), console)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise await dev.lost(str(error)) from error
            counts = await _until_quiet(http, target)
            metrics = experiment.read_metrics(await _text(http, dev.metrics))
            dead_letters = _dead_letters(data)
    return experiment.Result(
        rows=experiment.rows(counts["requests"], dead_letters),
        metrics=metrics,
        first_attempts_in_order=experiment.in_order(counts["firstArrivals"]),
    )


async def _send_and_settle(
    http: aiohttp.ClientSession, dev: Dev, messages: list[dict[str, Any]], console: Console
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        sending = progress.add_task("accepted", total=len(messages))
        settled = progress.add_task("delivered or dead-lettered", total=len(messages))
        await asyncio.gather(
            _send(http, dev, messages, progress, sending),
            _settle(http, dev, len(messages), progress, settled),
        )


async def _send(
    http: aiohttp.ClientSession, dev: Dev, messages: list[dict[str, Any]], progress: Progress, task: TaskID
) -> None:
    url = f"{dev.ingest}/v1/routes/{experiment.ROUTE}/messages"
    for message in messages:
        async with http.post(url, json=message) as response:
            if response.status != 202:
                raise CommandError(
                    f"chaski dev rejected a message with status {response.status}: {await response.text()}"
                )
        progress.advance(task)


async def _settle(http: aiohttp.ClientSession, dev: Dev, messages: int, progress: Progress, task: TaskID) -> None:
    deadline = time.monotonic() + _LIMIT_SECONDS
    settled, printed_at = 0, time.monotonic()
    while settled < messages:
        if time.monotonic() > deadline:
            raise await dev.lost(f"only {settled} of {messages} messages were settled within {_LIMIT_SECONDS:g} s")
        await asyncio.sleep(_POLL_SECONDS)
        settled = experiment.read_metrics(await _text(http, dev.metrics)).settled
        progress.update(task, completed=settled)
        if not progress.console.is_terminal and time.monotonic() >= printed_at + _PROGRESS_SECONDS:
            printed_at = time.monotonic()
            progress.console.print(f"{settled} of {messages} messages delivered or dead-lettered")


async def _until_quiet(http: aiohttp.ClientSession, target: str) -> dict[str, Any]:
    while True:
        before = orjson.loads(await _text(http, f"{target}/counts"))
        await asyncio.sleep(_QUIET_SECONDS)
        after: dict[str, Any] = orjson.loads(await _text(http, f"{target}/counts"))
        if after == before:
            return after


def _dead_letters(data: Path) -> list[DeadLetter]:
    with open_folder_reader(data) as reader:
        return list(reader.find(DeadLetterFilter(route=experiment.ROUTE)))


async def _text(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        if response.status != 200:
            raise CommandError(f"{url} returned status {response.status}")
        return await response.text()
