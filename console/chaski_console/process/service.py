"""Runs `chaski console`: the console as a process of its own, over routes on AWS."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from chaski_aws.backend import AwsClients, open_clients
from chaski_console import server
from chaski_console.auth.authenticators import Authenticator
from chaski_console.data.dead_letter_index import CombinedDeadLetters
from chaski_console.data.prometheus import PrometheusRates
from chaski_console.data.route_status import RouteStatusReader
from chaski_console.data.views import History, Sources
from chaski_console.process.actions import BackendActions
from chaski_console.process.options import ConsoleOptions
from chaski_console.process.routes import RouteBackends, RouteSource
from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Clock
from chaski_replay.selection import AllowedBy
from chaski_runtime.observability import logs
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.observability.tracing import tracing_of
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode
from chaski_runtime.process.corrected_clock import CorrectedClock
from chaski_runtime.process.http_server import shown_host
from chaski_runtime.process.lifecycle import stop_on_signals

_log = logging.getLogger(__name__)


def run_console(options: ConsoleOptions, allowed_by: AllowedBy) -> ExitCode:
    """Runs until SIGTERM or SIGINT.

    Args:
        options: of the process.
        allowed_by: judges whether a route allows the URL of a dead letter that is replayed.

    Raises:
        CommandError: a route, the authentication or a port can't be used.
    """
    clock = CorrectedClock(SystemClock())
    log = logs.configure(options.log_format, "info", service="chaski-console")
    try:
        authenticator = options.auth.authenticator(options.host, clock)
        open_routes = options.routes.opener(clock)
        asyncio.run(_Service(options, authenticator, open_routes, clock, allowed_by).run())
    finally:
        log.close()
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class _Service:
    options: ConsoleOptions
    authenticator: Authenticator
    open_routes: Callable[[], RouteSource]
    clock: Clock
    allowed_by: AllowedBy

    async def run(self) -> None:
        options = self.options
        stop = stop_on_signals()
        async with AsyncExitStack() as stack:
            tracing = await stack.enter_async_context(tracing_of("chaski-console"))
            account = await _open_account(self.clock)
            stack.push_async_callback(account.close)
            routes = self.open_routes()
            following = asyncio.create_task(routes.follow())
            stack.push_async_callback(_cancel, following)
            sources = self._sources(routes, account)
            try:
                console = await server.start(
                    options.host, options.port, sources, self.clock, self.authenticator, tracing
                )
                stack.push_async_callback(console.close)
                if options.metrics_port is not None:
                    metrics = MetricsRegistry()
                    metrics.observe_api_server(routes.unreachable_seconds)
                    side = await health.start(
                        options.host,
                        options.metrics_port,
                        metrics=metrics,
                        live=partial(_liveness_error, following),
                        ready=routes.unready_reason,
                    )
                    stack.push_async_callback(side.close)
            except OSError as error:
                raise CommandError(f"can't listen on {shown_host(options.host)}: {error.strerror or error}") from error
            url = f"{console.url}/"
            urls = {"chaski.console.url": url}
            if options.metrics_port is not None:
                urls["chaski.metrics.url"] = f"{url.rpartition(':')[0]}:{side.port}/metrics"
            _log.info("ready on %s", url, extra={"ecs": {"event.action": "ready", **urls}})
            options.auth.log_warning()
            await stop.wait()

    def _sources(self, routes: RouteSource, account: AwsClients) -> Sources:
        options, clock = self.options, self.clock
        backends = RouteBackends(routes, account)
        rates = PrometheusRates(options.prometheus_url, clock) if options.prometheus_url else None
        dead_letters = CombinedDeadLetters(lambda: {key: each.dead_letters for key, each in backends.items()})
        return Sources(
            RouteStatusReader(routes.snapshot, account, rates, clock),
            dead_letters,
            _NoHistories(),
            None if options.read_only else BackendActions(backends, clock, self.allowed_by),
            dead_letters.unreadable,
            options.routes.replay_command,
            options.routes.kubernetes,
        )


async def _open_account(clock: Clock) -> AwsClients:
    try:
        return await open_clients(clock)
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error


def _liveness_error(following: asyncio.Task[None]) -> str | None:
    return "the task that follows the routes has ended" if following.done() else None


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _NoHistories:
    """Implements `views.Histories` for AWS, where attempts are only in the workers' logs."""

    async def histories(self, _: str) -> Sequence[History]:
        return ()
