"""Runs `chaski dead-letters discard`."""

import asyncio
from dataclasses import dataclass, replace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from chaski_cli.dead_letters.selection import Search, check_known_target, check_selected, confirm
from chaski_cli.output import emit_result, stderr, stdout
from chaski_replay.backends import BackendLocation, OpenBackend, open_location
from chaski_replay.discard import count_dead_letters, discard_dead_letters
from chaski_replay.engine import Selection
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import ExitCode


@dataclass(frozen=True, slots=True)
class DiscardOptions:
    """The command's flags."""

    search: Search
    ids: tuple[str, ...]
    every: bool
    dry_run: bool
    yes: bool
    as_json: bool


def run_discard(location: BackendLocation, options: DiscardOptions) -> ExitCode:
    """Deletes dead letters permanently or, in a dry run, counts them.

    Raises:
        CommandError: a flag is invalid, the location can't be opened, or the user did not confirm.
    """
    check_selected(location, options.search, options.ids, every=options.every, dry_run=options.dry_run)
    with asyncio.Runner() as runner:
        return runner.run(_discard(location, options))


async def _discard(location: BackendLocation, options: DiscardOptions) -> ExitCode:
    now = SystemClock().now_ms()
    wanted = options.search.filter(now, location.route)
    if wanted.until is None or wanted.until > now:
        wanted = replace(wanted, until=now)
    selection = Selection(wanted, options.ids)
    async with open_location(location) as backend:
        found = await count_dead_letters(backend, selection)
        discarded = 0
        if not found:
            check_known_target(wanted, backend.routes)
        elif not options.dry_run:
            confirm(f"Delete {found} dead letters permanently?", found, yes=options.yes)
            discarded = await _delete(backend, selection, found)
    if options.as_json:
        emit_result({"dryRun": options.dry_run, "found": found, "discarded": discarded})
    else:
        stdout().print(
            f"{found} dead letters would be deleted" if options.dry_run else f"{discarded} dead letters deleted"
        )
    return ExitCode.OK


async def _delete(backend: OpenBackend, selection: Selection, found: int) -> int:
    console = stderr()
    columns = (TextColumn("deleting"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("deleting", total=found)
        return await discard_dead_letters(backend, selection, lambda discarded: bar.update(task, completed=discarded))
