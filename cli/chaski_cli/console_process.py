"""Runs `chaski console`: the console as a process of its own, over routes on AWS."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaski_aws.backend import AwsBackend, RouteTable, open_backend
from chaski_cli.console_access import Access
from chaski_cli.console_actions import LetterActions
from chaski_cli.errors import CommandError, Exit, wrong_input
from chaski_cli.opened import Opened, read_resolved_file
from chaski_console import server
from chaski_console.boards import QueueBoard
from chaski_console.merged import MergedLetters
from chaski_console.prometheus_rates import PrometheusRates
from chaski_console.security import Door
from chaski_console.views import History, Rates, RouteView, Sources
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Clock
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime import logs
from chaski_runtime.clock import SystemClock
from chaski_runtime.signals import stop_on_signals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What was asked for."""

    routes: tuple[Path, ...]  # resolved routes: files, or folders of them
    host: str
    port: int
    access: Access
    read_only: bool
    log_format: Literal["console", "json"]
    prometheus: str | None = None  # URL; None: rates are unknown


def run_console(options: ConsoleOptions) -> Exit:
    """Runs until SIGTERM or SIGINT.

    Raises:
        CommandError: a route, the way in or the port can't be used.
    """
    door = options.access.door(options.host, SystemClock())
    resolved = [read_resolved_file(file) for place in options.routes for file in _files(place)]
    if not resolved:
        raise wrong_input("there is no resolved route", "name what `chaski provision` wrote")
    log = logs.configure(options.log_format, "info", service="chaski-console")
    try:
        asyncio.run(_serve(resolved, door, options))
    finally:
        log.close()
    return Exit.OK


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("*.yaml")) if place.is_dir() else [place]


async def _serve(routes: Sequence[ResolvedRoute], door: Door, options: ConsoleOptions) -> None:
    stop, clock = stop_on_signals(), SystemClock()
    async with AsyncExitStack() as stack:
        opened: dict[str, Opened] = {}
        boards: list[QueueBoard] = []
        rates = PrometheusRates(options.prometheus, clock) if options.prometheus else None
        for resolved in routes:
            backend = await _open(resolved, clock)
            stack.push_async_callback(backend.close)
            key = resolved.route.key
            opened[key] = Opened(backend.dead_letters, backend.queue, {key: resolved})
            boards.append(_board(resolved, backend, rates, clock))
        letters = MergedLetters({key: each.dead_letters for key, each in opened.items()})
        actions = None if options.read_only else LetterActions(opened, clock)
        command = (
            "chaski",
            "dead-letters",
            "replay",
            "--route",
            str(options.routes[0]) if len(routes) == 1 else "FILE",
        )
        sources = Sources(_Boards(boards), letters, _NoJournal(), actions, command)
        try:
            running = await server.start(options.host, options.port, sources, clock, door)
        except OSError as error:
            raise CommandError(f"can't listen on {options.host}:{options.port}: {error.strerror or error}") from error
        stack.push_async_callback(running.close)
        url = f"http://{options.host}:{running.port}/"
        _log.info("ready on %s", url, extra={"ecs": {"event.action": "ready", "chaski.console.url": url}})
        options.access.tell()
        await stop.wait()


async def _open(resolved: ResolvedRoute, clock: Clock) -> AwsBackend:
    table = RouteTable(str(resolved.dead_letter_table), resolved.route.retention_days)
    try:
        return await open_backend(table, clock)
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error


def _board(resolved: ResolvedRoute, backend: AwsBackend, rates: Rates | None, clock: Clock) -> QueueBoard:
    return QueueBoard(lambda: [resolved], backend, rates, clock)


class _Boards:
    """Implements `chaski_console.views.Board` over one board for each route."""

    def __init__(self, boards: Sequence[QueueBoard]) -> None:
        self._boards = boards

    async def routes(self) -> Sequence[RouteView]:
        """Every route, by name."""
        shown = await asyncio.gather(*(board.routes() for board in self._boards))
        return sorted((view for views in shown for view in views), key=lambda view: view.key)


class _NoJournal:
    """Implements `chaski_console.views.Histories`: on AWS attempts are in the workers' logs, and nowhere else."""

    async def history(self, _: str) -> History | None:
        """Nothing."""
        return None
