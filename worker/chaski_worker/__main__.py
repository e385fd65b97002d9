"""The command `chaski-worker`."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from chaski_core.errors import InvalidInputError
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
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
from chaski_runtime.process.http_server import EVERY_ADDRESS
from chaski_worker.delivery.triage import Stage
from chaski_worker.process import WorkerOptions, read_route, serve
from chaski_worker.settings import (
    MAX_CONTENT_CHARACTERS,
    MAX_VISIBILITY_SECONDS,
    MIN_VISIBILITY_SECONDS,
    SQS_SETTINGS,
    WorkerOverrides,
    with_overrides,
)

_DESCRIPTION = """\
Delivers one route's messages from SQS; messages that fail for good become dead letters in DynamoDB.

Credentials, region and endpoints come from AWS's default chain (environment, profile, IRSA, Pod Identity; \
AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL_DYNAMODB for emulators). SIGTERM: nothing new is received, messages in flight \
are finished or released in order. /healthz returns 503 when no poll has succeeded for a minute.

Exit codes: 0 stopped by a signal, 1 could not run, 2 invalid input.
"""
_CONSUME = """\
Makes first attempts; in Strict the retries as well.

Example: chaski-worker consume --route resolved.yaml --queue messages
"""
_RETRY = "Makes retries: consumes all rungs of the route."
_SWEEP = "Attempts nothing: keeps messages of all queues and rungs as dead letters a day before SQS deletes them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Of all jobs."""

    route: Annotated[Path, typer.Option(metavar="FILE", help="The resolved route.")]
    secrets: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder where the Secrets of the route are mounted, each in a folder of its name."
        ),
    ] = Path("/etc/chaski/secrets")
    visibility_seconds: Annotated[
        int | None,
        typer.Option(
            "--visibility-seconds",
            envvar="CHASKI_VISIBILITY_SECONDS",
            help="Visibility timeout of received messages.",
            show_default="the route's timeout and 30 more, from 60 to 120",
            min=MIN_VISIBILITY_SECONDS,
            max=MAX_VISIBILITY_SECONDS,
            metavar="N",
        ),
    ] = None
    log_content_chars: Annotated[
        int | None,
        typer.Option(
            "--log-content-chars",
            envvar="CHASKI_LOG_CONTENT_CHARS",
            help="Characters of a message's content in the log line of each attempt.",
            show_default="0: none",
            min=0,
            max=MAX_CONTENT_CHARACTERS,
            metavar="N",
        ),
    ] = None
    count_queues: Annotated[
        bool,
        typer.Option(
            "--count-queues/--no-count-queues",
            envvar="CHASKI_COUNT_QUEUES",
            help="Count the messages of the queues for the metrics; not needed where the operator does.",
        ),
    ] = True
    allow_loopback: Annotated[
        bool,
        typer.Option(
            "--allow-loopback",
            envvar="CHASKI_ALLOW_LOOPBACK",
            help="Call loopback addresses where a rule of the route allows them: for tests on one machine.",
        ),
    ] = False
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address for health and metrics.", show_default=HOST_DEFAULT)
    ] = EVERY_ADDRESS  # Pods are scraped from outside
    metrics_port: MetricsPortOption = 9090
    log_format: LogFormatOption = LogFormat.JSON
    log_level: LogLevelOption = LogLevel.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeArguments(Arguments):
    """Of the job that makes first attempts."""

    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this queue of the route.", show_default="all")
    ] = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    app = service_app("chaski-worker", description=_DESCRIPTION)
    add_command(app, ConsumeArguments, _consume, name="consume", description=_CONSUME)
    add_command(app, Arguments, _retry, name="retry", description=_RETRY)
    add_command(app, Arguments, _sweep, name="sweep", description=_SWEEP)
    return run_app(app, arguments)


def _consume(given: ConsumeArguments) -> int:
    return _run(given, (Stage.FIRST,), queue=given.queue)


def _retry(given: Arguments) -> int:
    return _run(given, (Stage.RETRY,))


def _sweep(given: Arguments) -> int:
    return _run(given, (Stage.FIRST, Stage.RETRY), expire_only=True)


def _run(
    given: Arguments, stages: tuple[Stage, ...], *, queue: str | None = None, expire_only: bool = False
) -> ExitCode:
    overrides = WorkerOverrides(given.visibility_seconds, given.log_content_chars, given.count_queues)
    options = WorkerOptions(
        stages=stages,
        route=given.route,
        queue=queue,
        host=given.host,
        metrics_port=given.metrics_port,
        allow_loopback=given.allow_loopback,
        settings=with_overrides(SQS_SETTINGS, overrides),
        secrets=given.secrets,
        expire_only=expire_only,
    )
    try:
        resolved = read_route(options)
    except InvalidInputError as error:
        faults = "".join(f"\n  {fault}" for fault in error.errors)
        raise wrong_input(f"{options.route} can't be used{faults}") from error
    except OSError as error:
        raise wrong_input(f"--route {options.route}: {error.strerror}") from error
    descriptors.raise_limit()
    log = logs.configure(given.log_format.value, given.log_level.value, service="chaski-worker")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(resolved, options, log))
    finally:
        log.close()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
