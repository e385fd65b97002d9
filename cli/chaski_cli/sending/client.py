"""Sends to ingest: one request at a time, repeated while ingest is unavailable or answers "not now"."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from chaski_cli.errors import CommandError, Exit
from chaski_cli.sending.lines import Judged, Line, Rejected, can_come_later, explain, judge

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_REQUEST_SECONDS = 60.0
_STOP_SECONDS = 5.0  # how long an answer is awaited after the command was asked to stop
_WRONG_INPUT = frozenset({400, 404, 413, 415})
_NEXT_STEPS = {
    401: "this route wants a token of a Kubernetes service account, or an API key: pass it with --ingest-header",
    403: "spec.producers of the route does not name this producer",
    404: "check --route namespace/name against the routes that the ingest at --to serves",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, or 0 where nothing did, and a reason for that."""

    status: int
    body: bytes
    retry_after: float | None = None

    def problem(self) -> str:
        """Why it was not accepted."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body.decode(errors="replace").strip() or f"HTTP status {self.status}"
        return explain(value) if isinstance(value, dict) else str(value)


class Waiting:
    """How long to pause before a request is repeated, and when to stop repeating it."""

    def __init__(self, seconds: float, tell: Callable[[str], None], stop: asyncio.Event) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = _FIRST_PAUSE_SECONDS
        self._tell = tell
        self._stop = stop

    async def again(self, reason: str, retry_after: float | None) -> bool:
        """Waits before the next try; False where the time is up, or the command is asked to stop."""
        pause = min(max(self._pause, retry_after or 0.0), _LONGEST_PAUSE_SECONDS)
        if self._stop.is_set() or time.monotonic() + pause > self._deadline:
            return False
        self._tell(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stop.wait()
        self._pause *= 2
        return not self._stop.is_set()


class IngestClient:
    """One route of one ingest.

    Args:
        http: the session to use.
        base: URL of ingest, such as `http://127.0.0.1:8080`.
        route: `namespace/name`.
        retry_seconds: how long one request is repeated while ingest is away; below five minutes, because that is how
            long the queue knows a message's id.
        tell: is given the reason of each repetition.
        stop: when it is set, nothing is repeated any more, and an answer is awaited for five seconds more.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: str,
        route: str,
        retry_seconds: float,
        tell: Callable[[str], None],
        stop: asyncio.Event | None = None,
    ) -> None:
        self._http = http
        self._url = f"{base.rstrip('/')}/v1/routes/{route}/messages"
        self._retry_seconds = retry_seconds
        self._tell = tell
        self._stop = stop or asyncio.Event()

    async def send_one(self, message: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Sends one message until it is accepted; returns ingest's answer.

        Raises:
            CommandError: it was refused, or not accepted in time.
        """
        waiting = Waiting(self._retry_seconds, self._tell, self._stop)
        while True:
            answer = await self._post(self._url, message, {"Content-Type": "application/json", **headers})
            if answer.status == 202:
                accepted: dict[str, Any] = orjson.loads(answer.body)
                return accepted
            if not _not_now(answer):
                raise _refused(answer)
            if not await waiting.again(answer.problem(), answer.retry_after):
                raise self._gave_up(answer.problem())

    async def send_chunk(self, lines: Sequence[Line]) -> Judged:
        """Sends lines until each is accepted or rejected, or until time is up: the rest is then in `again`.

        Raises:
            CommandError: ingest refuses the request as a whole, whatever the lines are.
        """
        accepted: list[Line] = []
        rejected: list[Rejected] = []
        waiting = Waiting(self._retry_seconds, self._tell, self._stop)
        left = tuple(lines)
        while True:
            answer = await self._until_stopped(
                f"{self._url}:batch",
                b"".join(line.data + b"\n" for line in left),
                {"Content-Type": "application/x-ndjson"},
            )
            if answer.status == 200:
                judged = judge(left, _results(answer, len(left)))
                accepted += judged.accepted
                rejected += judged.rejected
                left, reason = judged.again, judged.reason
                if judged.accepted or judged.rejected:
                    waiting = Waiting(self._retry_seconds, self._tell, self._stop)
                if left and judged.rejected:
                    continue  # ingest holds lines back behind a wrong one of their subject; that one is gone now
            elif _not_now(answer):
                reason = answer.problem()
            else:
                raise _refused(answer)
            if not left or not await waiting.again(reason, answer.retry_after):
                return Judged(tuple(accepted), tuple(rejected), left, reason)

    async def _until_stopped(self, url: str, data: bytes, headers: dict[str, str]) -> Answer:
        posting = asyncio.ensure_future(self._post(url, data, headers))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((posting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not posting.done():
                await asyncio.wait((posting,), timeout=_STOP_SECONDS)
            return posting.result() if posting.done() else Answer(0, b"stopped before the answer came")
        finally:
            posting.cancel()
            stopping.cancel()

    async def _post(self, url: str, data: bytes, headers: dict[str, str]) -> Answer:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        try:
            async with self._http.post(url, data=data, headers=headers, timeout=timeout) as answer:
                after = answer.headers.get("Retry-After", "")
                return Answer(answer.status, await answer.read(), float(after) if after.isdigit() else None)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            return Answer(0, f"no answer from {url}: {str(error) or 'timeout'}".encode())
        except aiohttp.InvalidURL as error:
            raise CommandError(
                f'--to: "{error}" is no URL',
                next_step="write it like http://127.0.0.1:8080",
                exit_code=Exit.WRONG_INPUT,
            ) from error

    def _gave_up(self, reason: str) -> CommandError:
        return CommandError(
            f"not accepted within {self._retry_seconds:g} s: {reason}",
            next_step=f"is ingest up? try: curl -i {self._url.split('/v1/')[0]}/readyz",
        )


def _results(answer: Answer, lines: int) -> list[dict[str, Any]]:
    results = [orjson.loads(line) for line in answer.body.splitlines() if line.strip()]
    if len(results) != lines:
        raise CommandError(
            f"ingest answered {len(results)} results to {lines} lines, so it is not known which were accepted",
            next_step="is --to the address of a Chaski ingest, with nothing in between that changes answers?",
        )
    return results


def _not_now(answer: Answer) -> bool:
    return answer.status == 0 or can_come_later(answer.status)


def _refused(answer: Answer) -> CommandError:
    return CommandError(
        f"refused with {answer.status}: {answer.problem()}",
        next_step=_NEXT_STEPS.get(answer.status, ""),
        exit_code=Exit.WRONG_INPUT if answer.status in _WRONG_INPUT else Exit.FAILED,
    )
