"""The client of ingest: one request at a time, retried while ingest is unavailable or overloaded."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from rich.console import Console

from chaski_cli.output import printable
from chaski_cli.sending.lines import ChunkResult, Line, chunk_result
from chaski_client.aio import post, run_steps
from chaski_client.errors import NotAcceptedError, RefusedError, SendError
from chaski_client.responses import Response
from chaski_client.steps import Pause, Policy, Post, Steps, sending, sending_lines
from chaski_core.route.model import is_route_key
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

R = TypeVar("R")

_STOP_SECONDS = 5.0  # how long a response is awaited after a signal to stop
_WRONG_INPUT = frozenset({400, 404, 413, 415})
_NEXT_STEPS = {
    401: "this route requires a token of a Kubernetes service account, or an API key: pass it with --ingest-header",
    403: "add this producer, or a pattern of this subject, to spec.producers of the route",
    404: "check --route NAMESPACE/NAME against the routes that the ingest at --to serves",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to send, and how long to retry."""

    to: str
    route: str
    retry_seconds: float
    headers: dict[str, str] = field(default_factory=dict)  # for ingest itself, such as Authorization

    def __post_init__(self) -> None:
        if not is_route_key(self.route):
            raise wrong_input(
                f'--route: expected NAMESPACE/NAME, got "{self.route}"', "for example: --route default/first"
            )


def retry_printer(console: Console) -> Callable[[str], None]:
    """Prints each retry with its reason."""

    def on_retry(reason: str) -> None:
        console.print(f"not accepted yet, retrying: {printable(reason)}", style="yellow", markup=False)

    return on_retry


class IngestClient:
    """Sends to one route of one ingest.

    Args:
        http: the session to use.
        destination: `retry_seconds` must be below five minutes, the time for which a queue deduplicates by id.
        on_retry: is called with the reason of each retry.
        stop: once it is set, nothing is retried, and a response is awaited for five seconds more.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        destination: Destination,
        on_retry: Callable[[str], None],
        stop: asyncio.Event | None = None,
    ) -> None:
        self._http = http
        self._url = f"{destination.to.rstrip('/')}/v1/routes/{destination.route}"
        self._policy = Policy(destination.retry_seconds)
        self._on_retry = on_retry
        self._stop = stop or asyncio.Event()

    async def send_one(self, message: bytes, headers: dict[str, str]) -> Mapping[str, Any]:
        """Sends one message until it is accepted; returns ingest's response.

        Raises:
            CommandError: it was rejected, or not accepted in time.
        """
        return await self._run(sending(message, headers, self._policy, time.monotonic(), random.random), self._post)

    async def send_chunk(self, lines: Sequence[Line]) -> ChunkResult:
        """Sends lines until each is accepted or rejected; after the deadline the rest is in `unsettled`.

        Raises:
            CommandError: ingest rejects the request as a whole, whatever the lines are.
        """
        steps = sending_lines(lines, self._policy, time.monotonic(), random.random)
        return chunk_result(await self._run(steps, self._until_stopped))

    async def _run(self, steps: Steps[R], make_request: Callable[[Post], Awaitable[Response]]) -> R:
        try:
            return await run_steps(steps, make_request, self._wait)
        except RefusedError as error:
            raise _rejection(error) from error
        except NotAcceptedError as error:
            next_step = f"check that ingest is running: curl -i {self._url.split('/v1/')[0]}/readyz"
            raise CommandError(str(error), next_step=next_step) from error
        except SendError as error:
            next_step = "check that --to is the address of a Chaski ingest, without a proxy that changes responses"
            raise CommandError(str(error), next_step=next_step) from error

    async def _wait(self, pause: Pause) -> bool:
        """Waits before a retry. False if the command is stopping."""
        if self._stop.is_set():
            return False
        self._on_retry(pause.reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause.seconds):
                await self._stop.wait()
        return not self._stop.is_set()

    async def _until_stopped(self, request: Post) -> Response:
        posting = asyncio.ensure_future(self._post(request))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((posting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not posting.done():
                await asyncio.wait((posting,), timeout=_STOP_SECONDS)
            if posting.done():
                return posting.result()
            return Response(0, b"stopped before the response arrived", time.monotonic())
        finally:
            posting.cancel()
            stopping.cancel()

    async def _post(self, request: Post) -> Response:
        try:
            return await post(self._http, f"{self._url}{request.path}", request.body, request.headers)
        except aiohttp.InvalidURL as error:
            raise wrong_input(f'--to: "{error}" is not a URL', "for example: http://127.0.0.1:8080") from error


def _rejection(error: RefusedError) -> CommandError:
    return CommandError(
        f"rejected with status {error.status}: {error.reason}",
        next_step=_NEXT_STEPS.get(error.status, ""),
        exit_code=ExitCode.WRONG_INPUT if error.status in _WRONG_INPUT else ExitCode.FAILED,
    )
