"""`python -m chaski_embedded --data DIR --port N`: the embedded queues as an SQS endpoint."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from chaski_core.message.target_url import is_loopback
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.fifo.queue_attributes import REGION
from chaski_embedded.sqs_api.server import DEFAULT_HOST, start_server
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command import add_command, run_app, service_app
from chaski_runtime.process.command_error import ExitCode
from chaski_runtime.process.lifecycle import stop_on_signals

DEFAULT_PORT = 9324
_DESCRIPTION = """\
Queues in a folder, served as Amazon SQS on this machine, without authentication.

Exit codes: 0 stopped by a signal, 1 the folder or the address can't be used, 2 invalid input.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line."""

    data: Annotated[str, typer.Option(metavar="DIR", help="Data folder of the queues.")] = ".chaski"
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on; empty: every address.")] = (
        DEFAULT_HOST
    )
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0: any free port.")] = (
        DEFAULT_PORT
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; the exit code: 0, or 1 where the folder or the address can't be used."""
    app = service_app("chaski_embedded")
    add_command(app, Arguments, _run, name="chaski_embedded", description=_DESCRIPTION)
    return run_app(app, arguments)


def _run(given: Arguments) -> ExitCode:
    asyncio.run(_serve(given.data, given.host, given.port))
    return ExitCode.OK


async def _serve(folder: str, host: str, port: int) -> None:
    stop = stop_on_signals()
    broker = await EmbeddedBroker.open(folder, SystemClock())
    try:
        server = await start_server(broker, host, port)
        try:
            print(welcome(server.url, host), flush=True)  # noqa: T201 - output of a command
            await stop.wait()
        finally:
            await server.close()
    finally:
        await broker.close()


def welcome(url: str, host: str) -> str:
    """The first output: the URL, who can reach it, and the settings for SDKs."""
    reach = "reachable from this machine only" if is_loopback(host) else "ANYONE WHO CAN REACH IT HAS FULL ACCESS"
    return (
        f"SQS endpoint: {url} (no authentication: {reach})\n"
        f"export AWS_ENDPOINT_URL_SQS={url} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} "
        "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any\n"
        f"AWS CLI: aws sqs --endpoint-url {url} list-queues  (version 1 does not read AWS_ENDPOINT_URL_SQS)"
    )


if __name__ == "__main__":
    sys.exit(main())
