"""Sends canary messages and recognizes them when they arrive."""

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
_MAX_IN_FLIGHT = 1_440  # messages of a route that may still arrive: a day's at one per minute
_SEND_SECONDS = 15.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """The routes of a canary, its sink and its credentials."""

    ingest: str  # base URL
    sink: str  # URL of the sink that workers can reach
    routes: tuple[RouteKey, ...]
    interval_seconds: float
    token_file: Path | None = None  # read for each message, since tokens are renewed
    ca_file: Path | None = None  # the authority of ingest's certificate; read for each message where it exists


class Canary:
    """A canary; one per process."""

    def __init__(self, config: CanaryConfig, clock: Clock) -> None:
        self.metrics = CanaryMetrics(self._ages)
        self._config = config
        self._clock = clock
        self._in_flight: dict[RouteKey, OrderedDict[str, float]] = {route: OrderedDict() for route in config.routes}
        self._last: dict[RouteKey, float] = dict.fromkeys(config.routes, clock.monotonic())

    async def run(self) -> None:
        """Sends through every route once per interval until cancelled. Routes are spread over the interval."""
        pause = self._config.interval_seconds / max(1, len(self._config.routes))
        timeout = aiohttp.ClientTimeout(total=_SEND_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            sending: set[asyncio.Task[None]] = set()
            while True:
                for route in self._config.routes:
                    task = asyncio.create_task(self._send(http, route))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                    await asyncio.sleep(pause)

    async def handle_arrival(self, request: web.Request) -> web.Response:
        """The sink: answers every request with 200, and times the messages that it recognizes."""
        # A worker of the previous release sends the label as the message's id.
        label = request.headers.get("Chaski-Id", request.headers.get("Chaski-Message-Id", ""))
        for route, in_flight in self._in_flight.items():
            sent_at = in_flight.pop(label, None)
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
        in_flight = self._in_flight[route]
        while len(in_flight) >= _MAX_IN_FLIGHT:
            in_flight.popitem(last=False)
        in_flight[label] = self._clock.monotonic()
        namespace, name = route
        url = f"{self._config.ingest.rstrip('/')}/v1/routes/{namespace}/{name}/messages"
        message = {"id": label, "subject": SUBJECT, "body": {"url": self._config.sink, "content": "canary"}}
        try:
            async with http.post(url, json=message, headers=await self._headers(), ssl=await self._tls()) as response:
                accepted = response.status == 202
                reason = "" if accepted else (await response.content.read(2_048)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.metrics.sent(route, "unreachable")
            _log.warning("could not send the canary of %s/%s: %s", namespace, name, str(error) or type(error).__name__)
            return
        self.metrics.sent(route, "accepted" if accepted else "rejected")
        if not accepted:
            del in_flight[label]
            _log.warning("ingest rejected the canary of %s/%s: %s", namespace, name, reason)

    async def _tls(self) -> ssl.SSLContext | bool:
        """TLS settings that trust the authority of the file, or True for those of the system."""
        file = self._config.ca_file
        if file is None or not await asyncio.to_thread(file.is_file):
            return True
        return await asyncio.to_thread(ssl.create_default_context, cafile=str(file))

    async def _headers(self) -> dict[str, str]:
        if self._config.token_file is None:
            return {}
        token = await asyncio.to_thread(self._config.token_file.read_text)
        return {"Authorization": f"Bearer {token.strip()}"}


def parse_routes(texts: Sequence[str]) -> tuple[RouteKey, ...]:
    """Parses routes of the form `namespace/name`, without duplicates.

    Raises:
        ValueError: one has another form.
    """
    routes: dict[RouteKey, None] = {}
    for text in texts:
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ValueError(f'expected NAMESPACE/NAME, got "{text}"')
        routes[namespace, name] = None
    return tuple(routes)
