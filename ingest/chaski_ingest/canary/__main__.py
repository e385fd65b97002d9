"""The command `chaski-canary`."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from chaski_ingest.canary.probe import Canary, CanaryConfig, parse_routes
from chaski_runtime.observability import logs
from chaski_runtime.process import health, http_server
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command import (
    HOST_DEFAULT,
    LogFormat,
    LogFormatOption,
    LogLevel,
    LogLevelOption,
    MetricsPortOption,
    add_command,
    run_app,
    service_app,
)
from chaski_runtime.process.command_error import ExitCode, wrong_input
from chaski_runtime.process.lifecycle import stop_on_signals

_DESCRIPTION = """\
Sends a message through each route at an interval to a sink of its own, and measures how long it takes to arrive.

It is a producer and a target like any other: the routes must allow the sink's URL, and ingest must accept the token.

Exit codes: 0 stopped by a signal, 1 could not run, 2 invalid input.
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line."""

    ingest: Annotated[str, typer.Option(metavar="URL", help="Base URL of ingest.")]
    sink_url: Annotated[str, typer.Option(metavar="URL", help="URL of the sink that workers can reach.")]
    route: Annotated[list[str], typer.Option(metavar="NAMESPACE/NAME", help="A route to probe; repeatable.")]
    interval: Annotated[float, typer.Option(min=0.001, metavar="SECONDS", help="Between two messages to a route.")] = (
        60.0
    )
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Token or API key, read for each message.", show_default=False),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM; the authority of ingest's certificate.",
            show_default="the system's authorities",
        ),
    ] = None
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.", show_default=HOST_DEFAULT)] = (
        http_server.EVERY_ADDRESS
    )  # workers connect from outside the Pod
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port of the sink; 0: any free port.")] = 8082
    metrics_port: MetricsPortOption = 9090
    log_format: LogFormatOption = LogFormat.JSON
    log_level: LogLevelOption = LogLevel.INFO


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    app = service_app("chaski-canary")
    add_command(app, Arguments, _run, name="chaski-canary", description=_DESCRIPTION)
    return run_app(app, arguments)


def _run(given: Arguments) -> ExitCode:
    try:
        routes = parse_routes(given.route)
    except ValueError as error:
        raise wrong_input(str(error)) from error
    config = CanaryConfig(given.ingest, given.sink_url, routes, given.interval, given.token_file, given.ca_file)
    log = logs.configure(given.log_format.value, given.log_level.value, service="chaski-canary")
    try:
        asyncio.run(_serve(config, given))
    finally:
        log.close()
    return ExitCode.OK


async def _serve(config: CanaryConfig, given: Arguments) -> None:
    stop = stop_on_signals()
    canary = Canary(config, SystemClock())
    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", canary.handle_arrival)
        sink = await http_server.start(app, given.host, given.port, stop_seconds=1.0)
        stack.push_async_callback(sink.close)
        side = await health.start(
            given.host, given.metrics_port, metrics=canary.metrics, live=lambda: None, ready=lambda: None
        )
        stack.push_async_callback(side.close)
        urls = {
            "chaski.sink.url": f"{sink.url}/",
            "chaski.metrics.url": f"{side.url}/metrics",
        }
        _log.info(
            "ready, the sink listens on %s", urls["chaski.sink.url"], extra={"ecs": {"event.action": "ready", **urls}}
        )
        sending = asyncio.create_task(canary.run())
        await stop.wait()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
    _log.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
