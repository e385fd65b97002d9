"""Runs `chaski console`: the console as a process of its own, over routes on AWS."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from chaski_aws.account import AwsAccount, open_account
from chaski_cli.console.access import Access
from chaski_cli.console.actions import LetterActions
from chaski_cli.console.routes import ClusterRoutes, FileRoutes, OpenedRoutes, RouteSource, cluster_access
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_console import server
from chaski_console.auth.authenticators import Authenticator
from chaski_console.data.dead_letter_index import CombinedDeadLetters
from chaski_console.data.prometheus import PrometheusRates
from chaski_console.data.route_status import RouteStatusReader
from chaski_console.data.views import History, Sources
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Clock
from chaski_runtime.observability import logs
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.signals import stop_on_signals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """Whose routes are shown."""

    files: tuple[Path, ...] = ()  # resolved routes, or folders of them
    kubernetes: bool = False
    namespaces: tuple[str, ...] = ()  # with `kubernetes`: only these

    def opener(self, clock: Clock) -> Callable[[], RouteSource]:
        """What opens them once there is a loop.

        Raises:
            CommandError: nothing is named, too much is, or it can't be used.
        """
        if self.kubernetes == bool(self.files):
            raise wrong_input("name the routes: --route FILE|DIR, or --kubernetes for those of a cluster")
        if not self.kubernetes:
            if self.namespaces:
                raise wrong_input("--namespace goes with --kubernetes")
            files = FileRoutes(self.files)
            return lambda: files
        access = cluster_access()
        return lambda: ClusterRoutes(access, self.namespaces, clock)

    @property
    def command(self) -> tuple[str, ...]:
        """That replays what a search finds."""
        one = len(self.files) == 1 and not self.files[0].is_dir()
        return ("chaski", "dead-letters", "replay", "--route", str(self.files[0]) if one else "FILE")


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What was asked for."""

    shown: Shown
    host: str
    port: int
    metrics_port: int | None  # None: neither metrics nor health
    access: Access
    read_only: bool
    log_format: Literal["console", "json"]
    prometheus: str | None = None  # URL; None: rates are unknown


def run_console(options: ConsoleOptions) -> Exit:
    """Runs until SIGTERM or SIGINT.

    Raises:
        CommandError: a route, the way in or the port can't be used.
    """
    clock = CorrectedClock(SystemClock())
    door, open_routes = options.access.door(options.host, clock), options.shown.opener(clock)
    log = logs.configure(options.log_format, "info", service="chaski-console")
    try:
        asyncio.run(_serve(open_routes, door, options, clock))
    finally:
        log.close()
    return Exit.OK


async def _serve(
    open_routes: Callable[[], RouteSource], door: Authenticator, options: ConsoleOptions, clock: Clock
) -> None:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        tracing = await stack.enter_async_context(tracing_of("chaski-console"))
        account = await _open_account(clock)
        stack.push_async_callback(account.close)
        routes = open_routes()
        following = asyncio.create_task(routes.follow())
        stack.push_async_callback(_end, following)
        sources = _sources(routes, account, options, clock)
        try:
            running = await server.start(options.host, options.port, sources, clock, door, tracing)
            stack.push_async_callback(running.close)
            if options.metrics_port is not None:
                side = await health.start(
                    options.host,
                    options.metrics_port,
                    metrics=MetricsRegistry(),
                    live=partial(_live, following),
                    ready=routes.unready,
                )
                stack.push_async_callback(side.close)
        except OSError as error:
            raise CommandError(f"can't listen on {options.host}: {error.strerror or error}") from error
        url = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{running.port}/"
        urls = {"chaski.console.url": url}
        if options.metrics_port is not None:
            urls["chaski.metrics.url"] = f"{url.rpartition(':')[0]}:{side.port}/metrics"
        _log.info("ready on %s", url, extra={"ecs": {"event.action": "ready", **urls}})
        options.access.tell()
        await stop.wait()


def _sources(routes: RouteSource, account: AwsAccount, options: ConsoleOptions, clock: Clock) -> Sources:
    opened = OpenedRoutes(routes, account)
    rates = PrometheusRates(options.prometheus, clock) if options.prometheus else None
    letters = CombinedDeadLetters(lambda: {key: each.dead_letters for key, each in opened.items()})
    return Sources(
        RouteStatusReader(routes.known, account, rates, clock),
        letters,
        _NoJournal(),
        None if options.read_only else LetterActions(opened, clock),
        letters.missing,
        options.shown.command,
        options.shown.kubernetes,
    )


async def _open_account(clock: Clock) -> AwsAccount:
    try:
        return await open_account(clock)
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error


def _live(following: asyncio.Task[None]) -> str | None:
    return "the routes are no longer followed" if following.done() else None


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _NoJournal:
    """Implements `chaski_console.data.views.Histories`: on AWS attempts are in the workers' logs, and nowhere else."""

    async def histories(self, _: str) -> Sequence[History]:
        """Nothing."""
        return ()
