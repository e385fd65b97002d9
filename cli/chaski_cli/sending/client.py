"""The client of ingest: one request at a time, retried while ingest is unavailable or overloaded."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from rich.console import Console

from chaski_cli.output import printable
from chaski_cli.sending.lines import Accepted, ChunkResult, Line, Rejected, explain, is_retryable, sort_results
from chaski_core.retry.backoff import Backoff
from chaski_core.route.model import is_route_key
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_BACKOFF = Backoff(first_seconds=0.2, longest_seconds=10.0)
_REQUEST_SECONDS = 60.0
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


@dataclass(frozen=True, slots=True)
class Response:
    """A response of ingest; status 0 and the reason as body if there was none."""

    status: int
    body: bytes
    retry_after: float | None = None

    def problem(self) -> str:
        """Why the message was not accepted."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body.decode(errors="replace").strip() or f"HTTP status {self.status}"
        return explain(value) if isinstance(value, dict) else str(value)


def retry_printer(console: Console) -> Callable[[str], None]:
    """Prints each retry with its reason."""

    def on_retry(reason: str) -> None:
        console.print(f"not accepted yet, retrying: {printable(reason)}", style="yellow", markup=False)

    return on_retry


class RetryTimer:
    """Exponential backoff with a deadline."""

    def __init__(self, seconds: float, on_retry: Callable[[str], None], stop: asyncio.Event) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0
        self._on_retry = on_retry
        self._stop = stop

    async def wait(self, reason: str, retry_after: float | None) -> bool:
        """Waits before the next try. False if the deadline would pass, or the command is stopping."""
        self._failures += 1
        pause = min(max(_BACKOFF.seconds(self._failures), retry_after or 0.0), _BACKOFF.longest_seconds)
        if self._stop.is_set() or time.monotonic() + pause > self._deadline:
            return False
        self._on_retry(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stop.wait()
        return not self._stop.is_set()


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
        self._url = f"{destination.to.rstrip('/')}/v1/routes/{destination.route}/messages"
        self._retry_seconds = destination.retry_seconds
        self._on_retry = on_retry
        self._stop = stop or asyncio.Event()

    async def send_one(self, message: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Sends one message until it is accepted; returns ingest's response.

        Raises:
            CommandError: it was rejected, or not accepted in time.
        """
        timer = self._timer()
        while True:
            response = await self._post(self._url, message, {"Content-Type": "application/json", **headers})
            if response.status == 202:
                accepted: dict[str, Any] = orjson.loads(response.body)
                return accepted
            if not _may_retry(response):
                raise _rejection(response)
            if not await timer.wait(response.problem(), response.retry_after):
                raise self._timed_out(response.problem())

    async def send_chunk(self, lines: Sequence[Line]) -> ChunkResult:
        """Sends lines until each is accepted or rejected; after the deadline the rest is in `unsettled`.

        Raises:
            CommandError: ingest rejects the request as a whole, whatever the lines are.
        """
        accepted: list[Accepted] = []
        rejected: list[Rejected] = []
        timer = self._timer()
        left = tuple(lines)
        while True:
            response = await self._until_stopped(
                f"{self._url}:batch",
                b"".join(line.data + b"\n" for line in left),
                {"Content-Type": "application/x-ndjson"},
            )
            if response.status == 200:
                result = sort_results(left, _results(response, len(left)))
                accepted += result.accepted
                rejected += result.rejected
                left, reason = result.unsettled, result.reason
                if result.accepted or result.rejected:
                    timer = self._timer()
                if left and result.rejected:
                    continue  # ingest held these lines back behind a rejected one of their subject
            elif _may_retry(response):
                reason = response.problem()
            else:
                raise _rejection(response)
            if not left or not await timer.wait(reason, response.retry_after):
                return ChunkResult(tuple(accepted), tuple(rejected), left, reason)

    def _timer(self) -> RetryTimer:
        return RetryTimer(self._retry_seconds, self._on_retry, self._stop)

    async def _until_stopped(self, url: str, data: bytes, headers: dict[str, str]) -> Response:
        posting = asyncio.ensure_future(self._post(url, data, headers))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((posting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not posting.done():
                await asyncio.wait((posting,), timeout=_STOP_SECONDS)
            return posting.result() if posting.done() else Response(0, b"stopped before the response arrived")
        finally:
            posting.cancel()
            stopping.cancel()

    async def _post(self, url: str, data: bytes, headers: dict[str, str]) -> Response:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        try:
            async with self._http.post(url, data=data, headers=headers, timeout=timeout) as response:
                after = response.headers.get("Retry-After", "")
                return Response(response.status, await response.read(), float(after) if after.isdigit() else None)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            return Response(0, f"no response from {url}: {str(error) or 'timeout'}".encode())
        except aiohttp.InvalidURL as error:
            raise wrong_input(f'--to: "{error}" is not a URL', "for example: http://127.0.0.1:8080") from error

    def _timed_out(self, reason: str) -> CommandError:
        return CommandError(
            f"not accepted within {self._retry_seconds:g} s: {reason}",
            next_step=f"check that ingest is running: curl -i {self._url.split('/v1/')[0]}/readyz",
        )


def _results(response: Response, lines: int) -> list[dict[str, Any]]:
    results = [orjson.loads(line) for line in response.body.splitlines() if line.strip()]
    if len(results) != lines:
        raise CommandError(
            f"ingest returned {len(results)} results for {lines} lines, so it is unknown which were accepted",
            next_step="check that --to is the address of a Chaski ingest, without a proxy that changes responses",
        )
    return results


def _may_retry(response: Response) -> bool:
    return response.status == 0 or is_retryable(response.status)


def _rejection(response: Response) -> CommandError:
    return CommandError(
        f"rejected with status {response.status}: {response.problem()}",
        next_step=_NEXT_STEPS.get(response.status, ""),
        exit_code=ExitCode.WRONG_INPUT if response.status in _WRONG_INPUT else ExitCode.FAILED,
    )
