"""Runs `chaski dead-letters discard`."""

import asyncio
import sys
from contextlib import aclosing
from dataclasses import dataclass, replace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from chaski_cli.backends import BackendLocation, OpenBackend, open_location
from chaski_cli.dead_letters.command import Search
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import emit_json, stderr, stdout
from chaski_cli.replay.engine import Selection, letters_of
from chaski_core.dead_letter import DeadLetterKey
from chaski_runtime.process.clock import SystemClock

_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Discard:
    """What was asked for."""

    search: Search
    ids: tuple[str, ...]
    dry_run: bool
    yes: bool
    as_json: bool


def run_discard(where: BackendLocation, asked: Discard) -> Exit:
    """Deletes dead letters for good, or says how many would be."""
    with asyncio.Runner() as runner:
        return runner.run(_discard(where, asked))


async def _discard(where: BackendLocation, asked: Discard) -> Exit:
    now = SystemClock().now_ms()
    wanted = asked.search.filter(now)
    if wanted.until is None or wanted.until > now:
        wanted = replace(wanted, until=now)
    chosen = Selection(wanted, asked.ids)
    async with open_location(where) as opened:
        found = await _count(opened, chosen)
        discarded = 0
        if found and not asked.dry_run:
            _agree(asked, found)
            discarded = await _delete(opened, chosen, found)
    if asked.as_json:
        emit_json({"dryRun": asked.dry_run, "found": found, "discarded": discarded})
    else:
        stdout().print(f"{found} dead letters would be deleted" if asked.dry_run else f"{discarded} deleted")
    return Exit.OK


async def _count(opened: OpenBackend, chosen: Selection) -> int:
    count = 0
    async with aclosing(letters_of(opened, chosen)) as letters:
        async for _ in letters:
            count += 1
    return count


def _agree(asked: Discard, found: int) -> None:
    if asked.yes:
        return
    if not sys.stdin.isatty():
        raise wrong_input("nobody can be asked here; nothing was deleted", "give --yes")
    stderr().print(f"Delete {found} dead letters for good? Type their number: ", end="", markup=False)
    if sys.stdin.readline().strip() != str(found):
        raise CommandError("that is another number; nothing was deleted")


async def _delete(opened: OpenBackend, chosen: Selection, found: int) -> int:
    console = stderr()
    discarded = 0
    columns = (TextColumn("deleting"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("deleting", total=found)
        keys: list[DeadLetterKey] = []
        async with aclosing(letters_of(opened, chosen)) as letters:
            async for letter in letters:
                keys.append(letter.key)
                if len(keys) >= _CHUNK:
                    await opened.dead_letters.discard(keys)
                    discarded += len(keys)
                    keys.clear()
                    bar.update(task, completed=discarded)
        if keys:
            await opened.dead_letters.discard(keys)
    return discarded + len(keys)
