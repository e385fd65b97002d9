"""The command `chaski-worker`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from chaski_core import __version__
from chaski_core.errors import ChaskiError, InvalidInputError
from chaski_runtime.observability import logs
from chaski_runtime.process import descriptors
from chaski_worker.delivery.triage import Stage
from chaski_worker.process import WorkerOptions, read_route, serve
from chaski_worker.settings import from_environment

_DESCRIPTION = """\
Delivers one route's messages from SQS; messages that fail for good become dead letters in DynamoDB.

Credentials, region and endpoints come from AWS's default chain (environment, profile, IRSA, Pod Identity;
AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL_DYNAMODB for emulators). SIGTERM: nothing new is received, messages in
flight are finished or released in order. /healthz returns 503 when no poll has succeeded for a minute.
"""
_EPILOG = """\
examples:
  chaski-worker consume --route resolved.yaml                     first attempts of all queues of the route
  chaski-worker consume --route resolved.yaml --queue messages    of one queue
  chaski-worker retry --route resolved.yaml                       all rungs of the route
  chaski-worker sweep --route resolved.yaml                       attempts nothing; keeps messages about to expire

exit codes: 0 stopped by a signal, 1 could not run, 2 invalid input
"""

_STAGES = {"consume": (Stage.FIRST,), "retry": (Stage.RETRY,), "sweep": (Stage.FIRST, Stage.RETRY)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        settings = from_environment(os.environ)
    except InvalidInputError as error:
        return _fail(2, str(error))
    options = WorkerOptions(
        stages=_STAGES[given.job],
        route=given.route,
        queue=getattr(given, "queue", None),
        host=given.host,
        metrics_port=given.metrics_port,
        allow_loopback=os.environ.get("CHASKI_ALLOW_LOOPBACK") == "1",
        settings=settings,
        secrets=given.secrets,
        expire_only=given.job == "sweep",
    )
    try:
        resolved = read_route(options)
    except InvalidInputError as error:
        return _fail(2, "\n".join([f"{options.route} can't be used", *(f"  {fault}" for fault in error.faults)]))
    except OSError as error:
        return _fail(2, f"--route {options.route}: {error.strerror}")
    descriptors.raise_limit()
    log = logs.configure(given.log_format, given.log_level, service="chaski-worker")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(resolved, options, log))
    except InvalidInputError as error:
        return _fail(2, str(error))
    except (ChaskiError, OSError) as error:
        return _fail(1, str(error))
    finally:
        log.close()
    return 0


def _fail(code: int, text: str) -> int:
    sys.stderr.write(f"chaski-worker: {text}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "chaski-worker", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="consume|retry|sweep")
    consume = jobs.add_parser("consume", help="makes first attempts; in Strict the retries as well")
    consume.add_argument("--queue", metavar="NAME", help="only this queue of the route (default: all)")
    retry = jobs.add_parser("retry", help="makes retries: consumes all rungs of the route")
    summary = "attempts nothing: keeps messages of all queues and rungs as dead letters a day before SQS deletes them"
    sweep = jobs.add_parser("sweep", help=summary)
    for job in (consume, retry, sweep):
        job.add_argument("--route", type=Path, required=True, metavar="FILE", help="the resolved route")
        job.add_argument(
            "--secrets",
            type=Path,
            default=Path("/etc/chaski/secrets"),
            metavar="DIR",
            help="folder where the Secrets of the route are mounted, each in a folder of its name (default: %(default)s)",
        )
        job.add_argument("--host", default="0.0.0.0", help="address for health and metrics (default: %(default)s)")  # noqa: S104 - Pods are scraped from outside
        job.add_argument("--metrics-port", type=int, default=9090, metavar="N", help="0: any free port (default: 9090)")
        job.add_argument("--log-format", choices=("json", "console"), default="json", help="default: %(default)s")
        job.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
