"""`GET /v1/activity`: which queues this process has sent to since a cursor, for the operator, which starts workers by it.

The operator asks every Pod each second, instead of SQS, whose counts may be a minute old and cost a call for each queue. A caller
has a cursor of its own, so several may ask, and a lost response loses nothing. A process that ends is asked once more: it
stays for a moment until its last response was fetched, and marks it as final.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import web

from chaski_ingest.auth.service_account import Authorize

PATH = "/v1/activity"
AUDIENCE = "chaski-activity"  # of the operator's token, which no other endpoint accepts
_MAX_QUEUES = 20_000  # that are remembered: about 3 MB in a response
_ASKED_SECONDS = 5.0  # since the last request, within which a caller is expected to come back
_LAST_SECONDS = 3.0  # at most, for the last request


@dataclass(slots=True)
class _Marks:
    """Queue URLs with the period in which they were last noted, the latest last."""

    periods: dict[str, int] = field(default_factory=dict)

    def note(self, url: str, period: int) -> None:
        if self.periods.get(url) != period:
            self.periods.pop(url, None)
            self.periods[url] = period
            if len(self.periods) > _MAX_QUEUES:
                del self.periods[next(iter(self.periods))]

    def after(self, cursor: int) -> list[str]:
        found = []
        for url in reversed(self.periods):
            if self.periods[url] <= cursor:
                break
            found.append(url)
        return found


class Activity:
    """The queues that this process has sent to. A note takes a tenth of a microsecond, once for each call to SQS."""

    def __init__(self, epoch: str, monotonic: Callable[[], float]) -> None:
        """Nothing is noted yet.

        Args:
            epoch: names this process; a cursor of another one means nothing to it.
            monotonic: seconds.
        """
        self._epoch = epoch
        self._monotonic = monotonic
        self._period = 1  # from one response to the next; a cursor is the period of a response
        self._accepted = _Marks()
        self._uncertain = _Marks()
        self._asked_at: float | None = None
        self._final = False  # nothing will be noted any more
        self._was_last = asyncio.Event()

    def note(self, url: str, stored: bool) -> None:
        """Notes a call to a queue that has ended. `stored`: it has acknowledged messages; else it may have, or not."""
        (self._accepted if stored else self._uncertain).note(url, self._period)

    def since(self, cursor: int, epoch: str) -> bytes:
        """The response in JSON: what was noted after the response with this cursor.

        `{epoch, cursor, accepted: [URL], uncertain: [URL], final}`; everything noted so far if `epoch` is another one.
        """
        after = cursor if epoch == self._epoch else 0
        response = {
            "epoch": self._epoch,
            "cursor": self._period,
            "accepted": self._accepted.after(after),
            "uncertain": self._uncertain.after(after),
            "final": self._final,
        }
        self._period += 1
        self._asked_at = self._monotonic()
        if self._final:
            self._was_last.set()
        return orjson.dumps(response)

    async def end(self) -> None:
        """Call when no further call will be noted: returns once the last response was fetched, if requests came in lately; within 3 s."""
        self._final = True
        if self._asked_at is None or self._monotonic() - self._asked_at > _ASKED_SECONDS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._was_last.wait()


def handler(activity: Activity, authorize: Authorize) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Serves `PATH` with the query `cursor` and `epoch`, both optional."""

    async def handle(request: web.Request) -> web.Response:
        denied = await authorize(request.headers)
        if denied is not None:
            return web.Response(status=denied.status, text=f"{denied.detail}\n")
        cursor = request.query.get("cursor", "0")
        if not (cursor.isascii() and cursor.isdigit()):
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="cursor is not a number; leave it out at first\n")
        body = activity.since(int(cursor), request.query.get("epoch", ""))
        return web.Response(body=body, content_type="application/json")

    return handle
