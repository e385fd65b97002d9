"""Runs `chaski dev`: reads the routes, starts the services, waits for a signal, drains."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvloop
from rich.console import Console
from rich.text import Text

from chaski_cli.dev.services import Addresses, Services, open_services
from chaski_cli.errors import Exit
from chaski_cli.output import stdout
from chaski_cli.routes import load
from chaski_core import json_codec
from chaski_core.route.model import Route
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_runtime.process.gc_tuning import freeze_startup_objects
from chaski_runtime.process.signals import stop_on_signals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What was asked for."""

    routes: tuple[Path, ...]
    data: Path
    host: str
    port: int  # 0: any free one
    metrics_port: int  # as above
    console_port: int | None  # as above; None: the usual one if it is free, else any free one
    log_format: Literal["console", "json"]
    log_level: str
    secrets: Path | None = None  # folder with one folder for each Secret that the routes name


def run_dev(options: DevOptions) -> Exit:
    """Runs until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        InvalidRouteError: a route is wrong; names every fault of every file.
        CommandError: the data folder or a port can't be used.
    """
    routes = load(options.routes)
    descriptors.raise_limit()
    log = logs.configure(options.log_format, options.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(routes, options, log))
    finally:
        log.close()


async def _serve(routes: Sequence[Route], options: DevOptions, log: logs.Logs) -> Exit:
    stop = stop_on_signals()  # a second one ends it at once; what is in flight is released at the next start
    listen = Addresses(options.host, options.port, options.metrics_port, options.console_port)
    async with open_services(routes, options.data, listen, log, options.secrets) as services:
        freeze_startup_objects()
        _tell(services, routes, options)
        failed = await services.workers.run_until(stop)
        _log.info("stopping: nothing new is taken, what is in flight finishes")
    _log.info("stopped")
    return Exit.FAILED if failed else Exit.OK


def _tell(services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    addresses = {"chaski.ingest.url": services.ingest_url, "chaski.metrics.url": services.metrics_url}
    addresses["chaski.console.url"] = services.console_url
    _log.info("ready on %s", services.ingest_url, extra={"ecs": {"event.action": "ready", **addresses}})
    _log.info("targets on this machine (127.0.0.0/8 and ::1) may be called where a rule allows them")
    if options.secrets is None:
        for route in routes:
            _tell_without_secrets(route)
    if not is_loopback(options.host):
        _log.warning("%s can be reached from other machines, and there is no authentication", options.host)
    if options.log_format == "console":
        _welcome(stdout(), services, routes, options)


def _tell_without_secrets(route: Route) -> None:
    if route.signing_secret is not None:
        _log.warning("requests of %s are not signed: name the folder of its Secrets with --secrets", route.key)
    if any(rule.client_cert_secret_name for rule in route.allow):
        _log.warning("%s shows no client certificates: name the folder of its Secrets with --secrets", route.key)


def _welcome(console: Console, services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    console.print(Text.assemble("\nSend messages to ", (services.ingest_url, "bold"), ", for example:\n"))
    for route in routes:
        console.print(Text(f"  {curl_line(services.ingest_url, route)}\n"), soft_wrap=True)
    console.print(f"console   {services.console_url}", highlight=False)
    console.print(f"metrics   {services.metrics_url}", highlight=False)
    console.print(Text(f"data      {options.data}"))
    console.print("targets   this machine's own addresses may be called where a rule allows them")
    console.print("access    no authentication: whoever reaches the port may send\n")


def curl_line(base: str, route: Route) -> str:
    """A line that sends a message to the first target that the route allows."""
    url = route.allow[0].url.replace("//*.", "//www.")
    message = {"subject": "order-1", "body": {"url": url, "content": {"hello": "world"}}}
    body = json_codec.dumps(message).decode()  # a rule's URL holds no quote
    return f"curl -i {base}/v1/routes/{route.key}/messages -H 'Content-Type: application/json' -d '{body}'"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listening address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
