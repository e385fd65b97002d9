"""Runs `chaski dead-letters replay`."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from chaski_cli.dead_letters.selection import Search, check_known_target, check_selected, confirm
from chaski_cli.output import cell, emit_result, printable, stderr, stdout, table
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.message.target_url import UrlFault, parse_url
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.timestamps import timestamp
from chaski_replay import engine
from chaski_replay.arguments import ReplayArguments
from chaski_replay.backends import BackendLocation, OpenBackend, open_location
from chaski_replay.progress import ProgressReporting, progress_server, write_report
from chaski_replay.report import ReplayReport, SampleMessage
from chaski_replay.selection import IsAllowed, Ready, Run, SkipReason
from chaski_replay.spool import Spool
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import ExitCode, wrong_input
from chaski_runtime.process.lifecycle import stop_on_signals
from chaski_worker.guard.guard import Guard, Refusal

SAMPLE_SIZE = 10
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The command's flags."""

    search: Search
    ids: tuple[str, ...]
    run: Run
    throttle: engine.Throttle
    every: bool
    dry_run: bool
    yes: bool
    as_json: bool
    reporting: ProgressReporting = field(default_factory=ProgressReporting)


def run_replay(location: BackendLocation, options: ReplayOptions) -> ExitCode:
    """Sends dead letters again or, in a dry run, counts them.

    Raises:
        CommandError: a flag is invalid, the location can't be opened, or the user did not confirm.
    """
    check_selected(location, options.search, options.ids, every=options.every, dry_run=options.dry_run)
    _check(options)
    with asyncio.Runner() as runner:
        return runner.run(_replay(location, options))


def allowed_by(routes: Mapping[str, ResolvedRoute]) -> IsAllowed:
    """Checks URLs against the current allow rules of the routes."""
    guards = {key: Guard(resolved.route.allow) for key, resolved in routes.items()}
    return lambda route, url: not isinstance(guards[route].check(url), Refusal)


def _check(options: ReplayOptions) -> None:
    if not _RUN_ID.match(options.run.id):
        raise wrong_input(f'--run "{options.run.id}": expected 1 to 64 letters, digits, dots, underscores, hyphens')
    if options.run.to_url is not None:
        url = parse_url(options.run.to_url)
        if isinstance(url, UrlFault):
            raise wrong_input(f"--to-url: the URL {url.detail}")


async def _replay(location: BackendLocation, options: ReplayOptions) -> ExitCode:
    now = SystemClock().now_ms()
    wanted = options.search.filter(now, location.route)
    if wanted.until is None or wanted.until > now:
        # A message that fails again during the run is another dead letter, and not of this run.
        wanted = replace(wanted, until=now)
    state = _RunState(options, _arguments(options, wanted), location)
    async with progress_server(options.reporting.port, state.report), open_location(location) as backend:
        with Spool() as spool, _progress_bar() as bar:
            searching = bar.add_task("searching", total=None)

            def on_progress(progress: engine.Progress) -> None:
                state.progress = progress
                bar.update(searching, completed=progress.found)

            selection = engine.Selection(wanted, options.ids)
            is_allowed = allowed_by(backend.routes)
            progress = await engine.prepare(backend, selection, options.run, is_allowed, spool, on_progress)
            bar.remove_task(searching)
            if not progress.found and options.reporting.report is None:  # a Job reports that it found nothing
                check_known_target(wanted, backend.routes)
            state.sample += [each for each, _ in zip(spool, range(SAMPLE_SIZE), strict=False)]
            if not options.dry_run:
                _check_target(options, progress)
            if not options.dry_run and progress.ready:
                bar.stop()
                confirm(f"Send {progress.ready} messages again?", progress.ready, yes=options.yes)
                bar.start()
                hint = f"if this is interrupted, resume it with: {state.resume_command}"
                stderr().print(Text(hint, style="dim"), soft_wrap=True)
                await _send(backend, options, spool, progress, bar)
    _print(state)
    write_report(options.reporting.report, state.report())
    return ExitCode.FAILED if progress.failed else ExitCode.OK


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = stderr()
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


async def _send(
    backend: OpenBackend, options: ReplayOptions, spool: Spool, progress: engine.Progress, bar: Progress
) -> None:
    task = bar.add_task("sending", total=progress.ready)
    replay = engine.Replay(
        backend,
        options.run,
        options.throttle,
        SystemClock(),
        lambda current: bar.update(task, completed=current.sent),
        stop_on_signals(),
    )
    await replay.send(spool, progress)


def _check_target(options: ReplayOptions, progress: engine.Progress) -> None:
    refused = progress.skipped[SkipReason.NOT_ALLOWED]
    if options.run.to_url is not None and refused:
        raise wrong_input(
            f"--to-url {options.run.to_url}: no allow rule of the route covers the target of {refused} messages; nothing was sent",
            "add a rule to spec.targets.allow, or give another URL",
        )


def _arguments(options: ReplayOptions, wanted: DeadLetterFilter) -> ReplayArguments:
    return ReplayArguments(
        run=options.run.id,
        since=wanted.since,
        until=wanted.until,
        subject=wanted.subject,
        target=wanted.target,
        error_class=wanted.error_class,
        text=wanted.text,
        to_url=options.run.to_url,
        rate=options.throttle.rate,
        again=options.run.again,
        dry_run=options.dry_run,
        ids=options.ids,
    )


@dataclass(slots=True)
class _RunState:
    """Progress of the run, and the report of it."""

    options: ReplayOptions
    arguments: ReplayArguments
    location: BackendLocation
    progress: engine.Progress = field(default_factory=engine.Progress)
    sample: list[Ready] = field(default_factory=list)

    @property
    def resume_command(self) -> str:
        command = self.arguments.resume_command(self.location.command("dead-letters", "replay"))
        return f"{command} --yes" if self.options.yes else command

    def report(self) -> ReplayReport:
        arguments, progress = self.arguments, self.progress
        return ReplayReport(
            run=arguments.run,
            dry_run=arguments.dry_run,
            until=None if arguments.until is None else timestamp(arguments.until),
            found=progress.found,
            ready=progress.ready,
            sent=progress.sent,
            skipped=progress.skipped,
            reason=progress.failed or None,
            resume=self.resume_command if progress.failed else None,
            sample=tuple(
                SampleMessage(each.key.message_id, each.id, each.key.subject, each.target) for each in self.sample
            ),
        )


def _print(state: _RunState) -> None:
    options, report = state.options, state.report()
    if options.as_json:
        in_a_job = options.reporting.report is not None
        emit_result((report.without_queries() if in_a_job else report).document(), indented=True)
        return
    console = stdout()
    if options.dry_run and report.sample:
        rows = [(each.message_id, each.subject, each.url) for each in report.sample]
        console.print(table(("message", "subject", "url"), rows, cut=("subject", "url")))
    counts: list[tuple[str, int]] = [("found", report.found)]
    counts += [(f"skipped: {reason.description}", count) for reason, count in report.reported_skips()]
    counts += [("would be sent" if options.dry_run else "to send", report.ready)]
    counts += [] if options.dry_run else [("sent", report.sent)]
    console.print(table(("count", "messages"), [(cell(name), count) for name, count in counts], right=("messages",)))
    if report.reason:
        warn = partial(stderr().print, soft_wrap=True)
        warn(Text(f"not complete: {printable(report.reason)}", style="red"))
        warn(Text(f"next: {state.resume_command}"))
