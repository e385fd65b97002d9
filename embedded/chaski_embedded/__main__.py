"""`python -m chaski_embedded --data DIR --port N`: the embedded queues as an SQS endpoint."""

import argparse
import asyncio
import ipaddress
import signal
import sys
import time
from collections.abc import Sequence

from chaski_core.errors import BackendError
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.fifo.queue_attributes import REGION
from chaski_embedded.sqs_api.server import DEFAULT_HOST, start_server

DEFAULT_PORT = 9324


class _Clock:
    # `chaski_runtime` has the same clock, but this package does not depend on it.
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; the exit status: 0, or 1 where the folder or the address can't be used."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options.data, options.host, options.port))
    except (BackendError, OSError) as error:
        print(f"chaski_embedded: {error}", file=sys.stderr)  # noqa: T201 - output of a command
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaski_embedded", description="Queues in a folder, served as Amazon SQS."
    )
    parser.add_argument("--data", default=".chaski", metavar="DIR", help="data folder of the queues (%(default)s)")
    parser.add_argument(
        "--host", default=DEFAULT_HOST, help="address to listen on (%(default)s); without authentication"
    )
    parser.add_argument(
        "--port", default=DEFAULT_PORT, type=int, metavar="N", help="port to listen on (%(default)s); 0: a free one"
    )
    return parser


async def _serve(folder: str, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = await EmbeddedBroker.open(folder, _Clock())
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
    reach = "reachable from this machine only" if _is_loopback(host) else "ANYONE WHO CAN REACH IT HAS FULL ACCESS"
    return (
        f"SQS endpoint: {url} (no authentication: {reach})\n"
        f"export AWS_ENDPOINT_URL_SQS={url} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} "
        "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any\n"
        f"AWS CLI: aws sqs --endpoint-url {url} list-queues  (version 1 does not read AWS_ENDPOINT_URL_SQS)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
