"""Runs `chaski dead-letters replay`."""

import asyncio
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from chaski_cli.backends import BackendLocation, OpenBackend, open_location
from chaski_cli.dead_letters.command import Search
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.output import cell, emit_json, printable, stderr, stdout, table
from chaski_cli.replay import engine
from chaski_cli.replay.progress import ProgressReporting, progress_server, write_report
from chaski_cli.replay.selection import Allowed, Ready, Run, Skip
from chaski_cli.replay.spool import Spool
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.message.target_url import UrlFault, parse_url
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.timestamps import timestamp
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.signals import stop_on_signals
from chaski_worker.guard.guard import Guard
from chaski_worker.guard.refusal import Refusal

SAMPLE = 10
_RUN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_NAMES = {
    Skip.MALFORMED: "malformed",
    Skip.NO_ROUTE: "noRoute",
    Skip.NOT_ALLOWED: "notAllowed",
    Skip.REPLAYED: "replayedBefore",
    Skip.DONE: "sentByThisRun",
    Skip.GONE: "gone",
    Skip.TOO_LARGE: "tooLarge",
}


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What was asked for."""

    search: Search
    ids: tuple[str, ...]
    run: Run
    pace: engine.Throttle
    dry_run: bool
    yes: bool
    as_json: bool
    telling: ProgressReporting = field(default_factory=ProgressReporting)


def new_run() -> str:
    """The id of a replay."""
    return f"replay-{os.urandom(4).hex()}"


def run_replay(where: BackendLocation, asked: ReplayOptions) -> Exit:
    """Sends dead letters again, or says what would be sent."""
    _check(asked)
    with asyncio.Runner() as runner:
        return runner.run(_replay(where, asked))


def _check(asked: ReplayOptions) -> None:
    if not _RUN.match(asked.run.id):
        raise wrong_input(f'--run "{asked.run.id}": 1 to 64 letters, digits, dots, underscores, hyphens')
    if asked.run.to_url is not None:
        judged = parse_url(asked.run.to_url)
        if isinstance(judged, UrlFault):
            raise wrong_input(f"--to-url: the URL {judged.detail}")


async def _replay(where: BackendLocation, asked: ReplayOptions) -> Exit:
    clock = SystemClock()
    now = clock.now_ms()
    wanted = asked.search.filter(now)
    if wanted.until is None or wanted.until > now:
        # What fails again while this runs is another dead letter, and not of this run.
        wanted = replace(wanted, until=now)
    chosen = engine.Selection(wanted, asked.ids)
    so_far = _SoFar(asked, wanted, _resume(where, asked, wanted))
    async with progress_server(asked.telling.port, so_far.report), open_location(where) as opened:
        with Spool() as spool, _bar() as bar:
            looking = bar.add_task("looking", total=None)

            def tell(progress: engine.Progress) -> None:
                so_far.progress = progress
                bar.update(looking, completed=progress.found)

            progress = await engine.choose(opened, chosen, asked.run, allowed_by(opened.routes), spool, tell)
            bar.remove_task(looking)
            so_far.sample += [each for each, _ in zip(spool, range(SAMPLE), strict=False)]
            if not asked.dry_run:
                _refuse_foreign(asked, progress)
            if not asked.dry_run and progress.ready:
                _agree(asked, progress, bar)
                going_on = f"if this is interrupted, go on with: {so_far.resume}"
                stderr().print(Text(going_on, style="dim"), soft_wrap=True)
                await _send(opened, asked, spool, progress, bar)
    _report(so_far)
    write_report(asked.telling.report, so_far.report())
    return Exit.FAILED if progress.failed else Exit.OK


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = stderr()
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


async def _send(
    opened: OpenBackend, asked: ReplayOptions, spool: Spool, progress: engine.Progress, bar: Progress
) -> None:
    task = bar.add_task("sending", total=progress.ready)
    replay = engine.Replay(
        opened,
        asked.run,
        asked.pace,
        SystemClock(),
        lambda so_far: bar.update(task, completed=so_far.sent),
        stop_on_signals(),
    )
    await replay.send(spool, progress)


def allowed_by(routes: Mapping[str, ResolvedRoute]) -> Allowed:
    """Whether the allow rules of now cover a URL."""
    guards = {key: Guard(resolved.route.allow) for key, resolved in routes.items()}
    return lambda route, url: not isinstance(guards[route].check(url), Refusal)


def _refuse_foreign(asked: ReplayOptions, progress: engine.Progress) -> None:
    refused = progress.skipped[Skip.NOT_ALLOWED]
    if asked.run.to_url is not None and refused:
        raise wrong_input(
            f"--to-url {asked.run.to_url}: no allow rule of the route covers where {refused} messages would go; nothing was sent",
            "add a rule to spec.targets.allow, or give another URL",
        )


def _agree(asked: ReplayOptions, progress: engine.Progress, bar: Progress) -> None:
    if asked.yes or not sys.stdin.isatty():
        return
    bar.stop()
    stderr().print(f"Send {progress.ready} messages again? Type yes: ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was sent")
    bar.start()


def _resume(where: BackendLocation, asked: ReplayOptions, wanted: DeadLetterFilter) -> str:
    flags: dict[str, object | None] = {
        "--run": asked.run.id,
        "--since": None if wanted.since is None else timestamp(wanted.since),
        "--until": None if wanted.until is None else timestamp(wanted.until),
        "--subject": wanted.subject,
        "--target": wanted.target,
        "--class": wanted.error_class,
        "--text": wanted.text,
        "--to-url": asked.run.to_url,
        "--rate": asked.pace.rate,
    }
    words = ["chaski", "dead-letters", "replay", *asked.ids, *where.flags.split(" ", 1)]
    for name, value in flags.items():
        words += [] if value is None else [name, str(value)]
    return shlex.join([*words, *(["--again"] if asked.run.again else [])])


@dataclass(slots=True)
class _SoFar:
    """How far it is."""

    asked: ReplayOptions
    wanted: DeadLetterFilter
    resume: str
    progress: engine.Progress = field(default_factory=engine.Progress)
    sample: list[Ready] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """What a replay did so far, or would do."""
        asked, progress = self.asked, self.progress
        return {
            "run": asked.run.id,
            "dryRun": asked.dry_run,
            "until": None if self.wanted.until is None else timestamp(self.wanted.until),
            "found": progress.found,
            "ready": progress.ready,
            "sent": progress.sent,
            "skipped": {_NAMES[skip]: count for skip, count in progress.skipped.items() if skip in _NAMES and count},
            "complete": not progress.failed and not asked.dry_run,
            "reason": progress.failed or None,
            "resume": self.resume if progress.failed else None,
            "sample": [
                {"messageId": each.key.message_id, "id": each.id, "subject": each.key.subject, "url": each.target}
                for each in self.sample
            ],
        }


def _report(so_far: _SoFar) -> None:
    asked, progress = so_far.asked, so_far.progress
    if asked.as_json:
        emit_json(so_far.report(), indented=True)
        return
    console = stdout()
    if asked.dry_run and so_far.sample:
        console.print(
            table(
                ("message", "id", "subject", "url"),
                [(each.key.message_id, each.id, each.key.subject, each.target) for each in so_far.sample],
            )
        )
    rows: list[tuple[object, object]] = [("found", progress.found)]
    rows += [(f"left out: {skip.value}", count) for skip, count in _told(progress.skipped)]
    rows += [("would be sent" if asked.dry_run else "to send", progress.ready)]
    rows += [] if asked.dry_run else [("sent", progress.sent)]
    console.print(table(("what", "messages"), [(cell(name), count) for name, count in rows], right=("messages",)))
    if progress.failed:
        stderr().print(Text(f"not complete: {printable(progress.failed)}", style="red"), soft_wrap=True)
        stderr().print(Text(f"next: {so_far.resume}"), soft_wrap=True)


def _told(skipped: Counter[Skip]) -> list[tuple[Skip, int]]:
    return [(skip, skipped[skip]) for skip in _NAMES if skipped[skip]]
