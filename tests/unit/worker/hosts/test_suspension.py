"""A route file that is read again while a worker runs, for the rules that it suspends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chaski_worker.hosts.suspension import follow_suspension
from support.resolved import resolved_text

RUNNING = resolved_text("a")
SUSPENDED = RUNNING.replace("suspend: false", "suspend: true")


@asynccontextmanager
async def following(file: Path, first: frozenset[str] = frozenset()) -> AsyncIterator[list[frozenset[str]]]:
    """What is applied while the file is followed."""
    applied: list[frozenset[str]] = []
    task = asyncio.create_task(follow_suspension(file, first, applied.append, every_seconds=0.01))
    try:
        yield applied
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def replace_file(file: Path, text: str) -> None:
    """As the kubelet does it: the new file takes the place of the old one at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


async def test_only_a_changed_flag_is_applied(tmp_path: Path) -> None:
    """Other changes of the route wait for a new process."""
    file = tmp_path / "resolved.yaml"
    file.write_text(RUNNING)
    async with following(file) as applied:
        replace_file(file, SUSPENDED)
        await until(lambda: len(applied) == 1)
        replace_file(file, SUSPENDED.replace("https://q/1", "https://q/2"))
        await asyncio.sleep(0.1)
        assert applied == [{"t"}]
        replace_file(file, RUNNING)
        await until(lambda: len(applied) == 2)
    assert applied == [{"t"}, frozenset()]


async def test_a_file_that_changed_before_it_is_followed_is_applied(tmp_path: Path) -> None:
    """The worker read it a moment before."""
    file = tmp_path / "resolved.yaml"
    file.write_text(SUSPENDED)
    async with following(file) as applied:
        await until(lambda: len(applied) == 1)
    assert applied == [{"t"}]


async def test_an_invalid_or_missing_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged once, and a valid file is used again."""
    file = tmp_path / "resolved.yaml"
    file.write_text(SUSPENDED)
    caplog.set_level(logging.INFO, "chaski_runtime.process.file_reloader")
    async with following(file, frozenset({"t"})) as applied:
        await asyncio.sleep(0.05)
        replace_file(file, "kind: Nothing")
        await until(lambda: len(caplog.records) == 1)
        file.unlink()
        await until(lambda: len(caplog.records) == 2)
        await asyncio.sleep(0.1)
        assert applied == []
        replace_file(file, RUNNING)
        await until(lambda: len(applied) == 1)
    assert "must be ResolvedRoute" in caplog.text
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 2


async def test_a_pipe_is_not_read_again() -> None:
    """It has ended, and reading it could wait for ever."""
    await asyncio.wait_for(follow_suspension(Path("/dev/null"), frozenset(), lambda _: None), 60)
