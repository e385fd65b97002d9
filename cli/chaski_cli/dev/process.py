"""Runs `chaski dev`: reads the routes, starts the services, waits for a signal, drains."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvloop
from rich.console import Console
from rich.text import Text

from chaski_cli.dev.built_in import TARGET_PORT, built_in_route
from chaski_cli.dev.reload import Stamp, follow, stamps_of
from chaski_cli.dev.services import Addresses, Services, open_services
from chaski_cli.dev.target import start_target
from chaski_cli.output import stdout
from chaski_cli.route_files import load
from chaski_core import json_codec
from chaski_core.message.target_url import is_loopback
from chaski_core.route.model import Route
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_runtime.process.command_error import ExitCode, wrong_input
from chaski_runtime.process.http_server import shown_host
from chaski_runtime.process.lifecycle import freeze_startup_objects, stop_on_signals
from chaski_worker.settings import NO_OVERRIDES, WorkerOverrides

_log = logging.getLogger(__name__)
_EXAMPLES = 3  # commands that send a message, for the first routes


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The command's flags."""

    routes: tuple[Path, ...]  # empty: the built-in route
    data: Path
    host: str
    port: int | None  # this and the next two: 0 is a free one, None the usual one, or a free one if that is in use
    metrics_port: int | None
    console_port: int | None
    log_format: Literal["console", "json"]
    log_level: str
    allow: tuple[str, ...] = ()  # further targets of the built-in route
    secrets: Path | None = None  # folder with one folder per Secret; None: nothing is signed
    overrides: WorkerOverrides = NO_OVERRIDES


def run_dev(options: DevOptions) -> ExitCode:
    """Runs until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        CommandError: a route is invalid, or the data folder or a port can't be used.
    """
    stamps = stamps_of(options.routes)
    routes = _routes(options)
    descriptors.raise_limit()
    log = logs.configure(options.log_format, options.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(routes, stamps, options, log))
    finally:
        log.close()


def _routes(options: DevOptions) -> Sequence[Route]:
    if not options.routes:
        return [built_in_route(options.allow)]
    if options.allow:
        raise wrong_input("--allow belongs to the built-in route", "add the target to the route file")
    return load(options.routes)


async def _serve(routes: Sequence[Route], stamps: Sequence[Stamp], options: DevOptions, log: logs.Logs) -> ExitCode:
    stop = stop_on_signals()  # a second signal ends it at once; messages in flight are released at the next start
    listen = Addresses(options.host, options.port, options.metrics_port, options.console_port)
    async with contextlib.AsyncExitStack() as stack:
        if not options.routes:
            await _open_target(stack)
        services = await stack.enter_async_context(
            open_services(routes, options.data, listen, log, options.overrides, options.secrets)
        )
        freeze_startup_objects()
        _log_ready(services, routes, options)
        following = asyncio.create_task(follow(options.routes, stamps, services.routes.apply))
        try:
            failed = await services.workers.run_until(stop)
        finally:
            following.cancel()
        _log.info("stopping: no new messages are received; attempts in flight finish")
    _log.info("stopped")
    return ExitCode.FAILED if failed else ExitCode.OK


async def _open_target(stack: contextlib.AsyncExitStack) -> None:
    """Starts the built-in target, unless another server listens on its port: that one is the target then."""
    try:
        target = await start_target("127.0.0.1", TARGET_PORT)
    except OSError:
        _log.info("port %d is in use: messages to it go to the server that listens there", TARGET_PORT)
        return
    stack.push_async_callback(target.close)
    _log.info("%s/ responds with 200 to every message; for other responses run: chaski listen", target.url)


def _log_ready(services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    addresses = {"chaski.ingest.url": services.ingest_url, "chaski.metrics.url": services.metrics_url}
    addresses["chaski.console.url"] = services.console_url
    if options.log_format == "console":
        _print_welcome(stdout(), services, routes, options)
    else:
        _log.info("targets on this machine (127.0.0.0/8 and ::1) may be called if a rule allows them")
    _log.info("ready on %s", services.ingest_url, extra={"ecs": {"event.action": "ready", **addresses}})
    if options.secrets is None:
        for route in routes:
            _warn_without_secrets(route)
    if not is_loopback(options.host):
        _log.warning("%s is reachable from other machines, without authentication", shown_host(options.host))


def _warn_without_secrets(route: Route) -> None:
    if any(route.signing_of(rule) for rule in route.allow):
        _log.warning("requests of %s are not signed: give the folder of its Secrets with --secrets", route.key)
    if any(rule.auth for rule in route.allow):
        _log.warning(
            "requests of %s are sent without credentials: give the folder of its Secrets with --secrets", route.key
        )
    if any(rule.client_cert_secret_name for rule in route.allow):
        _log.warning("%s uses no client certificates: give the folder of its Secrets with --secrets", route.key)


def _print_welcome(console: Console, services: Services, routes: Sequence[Route], options: DevOptions) -> None:
    lines = [
        ("console", services.console_url),
        ("messages", services.ingest_url),
        ("metrics", services.metrics_url),
        ("data", str(options.data)),
        ("targets", "addresses of this machine (127.0.0.0/8 and ::1) may be called if a rule allows them"),
        ("access", "no authentication: any client that reaches the port may send"),
    ]
    console.print()
    for name, value in lines:
        console.print(Text.assemble((f"{name:<10}", "bold"), value), soft_wrap=True)
    console.print("\nSend a message, for example:\n")
    for route in routes[:_EXAMPLES]:
        console.print(Text(f"  {curl_line(services.ingest_url, route)}\n"), soft_wrap=True)
    if len(routes) > _EXAMPLES:
        console.print(f"  and to {len(routes) - _EXAMPLES} more routes; the console lists them\n")


def curl_line(base: str, route: Route) -> str:
    """A command that sends a message to the first allowed target."""
    url = route.allow[0].url.replace("//*.", "//www.")
    message = {"subject": "order-1", "body": {"url": url, "content": {"hello": "world"}}}
    body = json_codec.dumps(message).decode()  # a rule's URL contains no quote
    return f"curl -i {base}/v1/routes/{route.key}/messages -H 'Content-Type: application/json' -d '{body}'"
