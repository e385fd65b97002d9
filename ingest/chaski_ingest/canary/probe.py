"""Sends messages, and knows them again when they arrive."""

import asyncio
import logging
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from chaski_core.ports import Clock
from chaski_ingest.canary.metrics import CanaryMetrics, RouteKey

SUBJECT = "chaski-canary"
_KEPT = 1_440  # messages of a route that may still arrive: a day's at one a minute
_SEND_SECONDS = 15.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """Where a canary sends, and where its messages arrive."""

    ingest: str  # base URL
    sink: str  # URL of the sink, as workers reach it
    routes: tuple[RouteKey, ...]
    interval_seconds: float
    token_file: Path | None = None  # read for each message: tokens are renewed
    ca_file: Path | None = None  # who signed ingest's certificate; read for each message where it is there


class Canary:
    """One for a process."""

    def __init__(self, flight: CanaryConfig, clock: Clock) -> None:
        self.metrics = CanaryMetrics(self._ages)
        self._flight = flight
        self._clock = clock
        self._under_way: dict[RouteKey, OrderedDict[str, float]] = {route: OrderedDict() for route in flight.routes}
        self._last: dict[RouteKey, float] = dict.fromkeys(flight.routes, clock.monotonic())

    async def run(self) -> None:
        """Sends by every route, again and again, until cancelled. Routes are spread over the interval."""
        pause = self._flight.interval_seconds / max(1, len(self._flight.routes))
        timeout = aiohttp.ClientTimeout(total=_SEND_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            sending: set[asyncio.Task[None]] = set()
            while True:
                for route in self._flight.routes:
                    task = asyncio.create_task(self._send(http, route))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                    await asyncio.sleep(pause)

    async def take(self, request: web.Request) -> web.Response:
        """The sink: answers 200 whatever comes, and counts what it knows."""
        # A worker a release back sends the label as the message's id.
        label = request.headers.get("Chaski-Id", request.headers.get("Chaski-Message-Id", ""))
        for route, under_way in self._under_way.items():
            sent_at = under_way.pop(label, None)
            if sent_at is not None:
                now = self._clock.monotonic()
                self._last[route] = now
                self.metrics.arrived(route, now - sent_at)
        return web.Response(text="ok\n")

    def _ages(self) -> Mapping[tuple[str, ...], float]:
        now = self._clock.monotonic()
        return {route: now - last for route, last in self._last.items()}

    async def _send(self, http: aiohttp.ClientSession, route: RouteKey) -> None:
        label = f"canary-{secrets.token_hex(12)}"
        under_way = self._under_way[route]
        while len(under_way) >= _KEPT:
            under_way.popitem(last=False)
        under_way[label] = self._clock.monotonic()
        namespace, name = route
        url = f"{self._flight.ingest.rstrip('/')}/v1/routes/{namespace}/{name}/messages"
        message = {"id": label, "subject": SUBJECT, "body": {"url": self._flight.sink, "content": "canary"}}
        try:
            async with http.post(url, json=message, headers=await self._headers(), ssl=await self._trust()) as answer:
                accepted = answer.status == 202
                said = "" if accepted else (await answer.content.read(2_048)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.metrics.sent(route, "unreachable")
            _log.warning(
                "the canary of %s/%s could not be sent: %s", namespace, name, str(error) or type(error).__name__
            )
            return
        self.metrics.sent(route, "accepted" if accepted else "rejected")
        if not accepted:
            del under_way[label]
            _log.warning("the canary of %s/%s was not accepted: %s", namespace, name, said)

    async def _trust(self) -> ssl.SSLContext | bool:
        """By what ingest's certificate is judged: the authority of the file, else those of the system."""
        file = self._flight.ca_file
        if file is None or not await asyncio.to_thread(file.is_file):
            return True
        return await asyncio.to_thread(ssl.create_default_context, cafile=str(file))

    async def _headers(self) -> dict[str, str]:
        if self._flight.token_file is None:
            return {}
        token = await asyncio.to_thread(self._flight.token_file.read_text)
        return {"Authorization": f"Bearer {token.strip()}"}


def parse_routes(texts: Sequence[str]) -> tuple[RouteKey, ...]:
    """Routes as `namespace/name`, each once.

    Raises:
        ValueError: one is none.
    """
    routes: dict[RouteKey, None] = {}
    for text in texts:
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ValueError(f'"{text}" is no route; write namespace/name')
        routes[namespace, name] = None
    return tuple(routes)
