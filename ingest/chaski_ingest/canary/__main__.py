"""The command `chaski-canary`."""

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from chaski_core import __version__
from chaski_ingest.canary.probe import Canary, CanaryConfig, parse_routes
from chaski_runtime.observability import logs
from chaski_runtime.process import health
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.lifecycle import stop_on_signals

_DESCRIPTION = """\
Sends a message through each route at an interval to a sink of its own, and measures how long it takes to arrive.

It is a producer and a target like any other: the routes must allow the sink's URL, and ingest must accept the token.
"""
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        routes = parse_routes(given.route)
    except ValueError as error:
        sys.stderr.write(f"chaski-canary: {error}\n")
        return 2
    config = CanaryConfig(given.ingest, given.sink_url, routes, given.interval, given.token_file, given.ca_file)
    log = logs.configure(given.log_format, given.log_level, service="chaski-canary")
    try:
        asyncio.run(_serve(config, given))
    except OSError as error:
        sys.stderr.write(f"chaski-canary: {error}\n")
        return 1
    finally:
        log.close()
    return 0


async def _serve(config: CanaryConfig, given: argparse.Namespace) -> None:
    stop = stop_on_signals()
    canary = Canary(config, SystemClock())
    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", canary.handle_arrival)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, given.host, given.port).start()
        side = await health.start(
            given.host, given.metrics_port, metrics=canary.metrics, live=lambda: None, ready=lambda: None
        )
        stack.push_async_callback(side.close)
        urls = {
            "chaski.sink.url": f"http://{given.host}:{runner.addresses[0][1]}/",
            "chaski.metrics.url": f"http://{given.host}:{side.port}/metrics",
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "chaski-canary", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--ingest", required=True, metavar="URL", help="base URL of ingest")
    parser.add_argument("--sink-url", required=True, metavar="URL", help="URL of the sink that workers can reach")
    parser.add_argument("--route", required=True, action="append", metavar="NAMESPACE/NAME", help="repeatable")
    parser.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="token or API key, read for each message")
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="PEM; the authority of ingest's certificate (default: the system's authorities)",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104 - workers connect from outside the Pod
    parser.add_argument("--port", type=int, default=8082, metavar="N", help="port of the sink (default: 8082)")
    parser.add_argument("--metrics-port", type=int, default=9090, metavar="N", help="default: 9090")
    parser.add_argument("--log-format", choices=("json", "console"), default="json", help="default: %(default)s")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
