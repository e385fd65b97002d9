"""Runs `chaski dev`: reads the routes, starts the services, waits for a signal, drains."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvloop
from rich.console import Console
from rich.text import Text

from chaski_cli.dev.services import Addresses, Services, open_services
from chaski_cli.output import stdout
from chaski_cli.route_files import load
from chaski_core import json_codec
from chaski_core.message.target_url import is_loopback
from chaski_core.route.model import Route
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_runtime.process.command_error import ExitCode
from chaski_runtime.process.http_server import shown_host
from chaski_runtime.process.lifecycle import freeze_startup_objects, stop_on_signals
from chaski_worker.settings import NO_OVERRIDES, WorkerOverrides

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The command's flags."""

    routes: tuple[Path, ...]
    data: Path
    host: str
    port: int  # 0: a free one
    metrics_port: int  # 0: a free one
    console_port: int | None  # 0: a free one; None: 8081, or a free one if it is in use
    log_format: Literal["console", "json"]
    log_level: str
    secrets: Path | None = None  # folder with one folder per Secret; None: nothing is signed
    overrides: WorkerOverrides = NO_OVERRIDES


def run_dev(options: DevOptions) -> ExitCode:
    """Runs until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        CommandError: a route is invalid, or the data folder or a port can't be used.
    """
    routes = load(options.routes)
    descriptors.raise_limit()
    log = logs.configure(options.log_format, options.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(routes, options, log))
    finally:
        log.close()


async def _serve(routes: Sequence[Route], options: DevOptions, log: logs.Logs) -> ExitCode:
    stop = stop_on_signals()  # a second signal ends it at once; messages in flight are released at the next start
    listen = Addresses(options.host, options.port, options.metrics_port, options.console_port)
    async with open_services(routes, options.data, listen, log, options.overrides, options.secrets) as services:
        freeze_startup_objects()
        _log_ready(services, routes, options)
        failed = await services.workers.run_until(stop)
        _log.info("stopping: no new messages are received; attempts in flight finish")
    _log.info("stopped")
    return ExitCode.FAILED if failed else ExitCode.OK


def _log_ready(services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    addresses = {"chaski.ingest.url": services.ingest_url, "chaski.metrics.url": services.metrics_url}
    addresses["chaski.console.url"] = services.console_url
    _log.info("ready on %s", services.ingest_url, extra={"ecs": {"event.action": "ready", **addresses}})
    _log.info("targets on this machine (127.0.0.0/8 and ::1) may be called if a rule allows them")
    if options.secrets is None:
        for route in routes:
            _warn_without_secrets(route)
    if not is_loopback(options.host):
        _log.warning("%s is reachable from other machines, without authentication", shown_host(options.host))
    if options.log_format == "console":
        _print_welcome(stdout(), services, routes, options)


def _warn_without_secrets(route: Route) -> None:
    if route.signing_secret is not None:
        _log.warning("requests of %s are not signed: give the folder of its Secrets with --secrets", route.key)
    if any(rule.client_cert_secret_name for rule in route.allow):
        _log.warning("%s uses no client certificates: give the folder of its Secrets with --secrets", route.key)


def _print_welcome(console: Console, services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    console.print(Text.assemble("\nSend messages to ", (services.ingest_url, "bold"), ", for example:\n"))
    for route in routes:
        console.print(Text(f"  {curl_line(services.ingest_url, route)}\n"), soft_wrap=True)
    console.print(f"console   {services.console_url}", highlight=False)
    console.print(f"metrics   {services.metrics_url}", highlight=False)
    console.print(Text(f"data      {options.data}"))
    console.print("targets   addresses of this machine may be called if a rule allows them")
    console.print("access    no authentication: any client that reaches the port may send\n")


def curl_line(base: str, route: Route) -> str:
    """A command that sends a message to the first allowed target."""
    url = route.allow[0].url.replace("//*.", "//www.")
    message = {"subject": "order-1", "body": {"url": url, "content": {"hello": "world"}}}
    body = json_codec.dumps(message).decode()  # a rule's URL contains no quote
    return f"curl -i {base}/v1/routes/{route.key}/messages -H 'Content-Type: application/json' -d '{body}'"
