"""HTTP requests to Pods: the scraper of the workers' metrics, and the address and port of a Pod."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from chaski_operator.pods.worker_metrics import METRICS, PodFigures, Pods, combine, figures

_DEFAULT_PORT = 9090
_MAX_PAGE_BYTES = 1024 * 1024
_AT_ONCE = 32  # Pods, so at most 32 MiB of pages
# As Prometheus: a whole page of a route with many targets may have several MiB.
_QUERY = [("name[]", name) for name in METRICS]


class Scraper:
    """Scrapes Pods.

    A Pod that does not answer within `seconds`, with a page of more than 1 MiB or with one that no worker writes is
    unresponsive.
    """

    def __init__(self, *, seconds: float = 3.0) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session = pod_session(seconds)

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def scrape(self, urls: Sequence[str]) -> Pods:
        """The combined figures of the Pods at these URLs."""
        return combine(await asyncio.gather(*(self._scrape_one(url) for url in urls)))

    async def _scrape_one(self, url: str) -> PodFigures | None:
        try:
            async with self._slots, self._session.get(url, params=_QUERY, allow_redirects=False) as response:
                page = await read_limited(response, _MAX_PAGE_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return None if page is None else figures(page.decode("utf-8", "replace"))


def pod_session(seconds: float) -> aiohttp.ClientSession:
    """A session for requests to Pods, each of at most `seconds`. Nothing is decompressed: a MiB could expand to a GiB."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=seconds), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    )


@dataclass(frozen=True, slots=True)
class PodEndpoint:
    """The metrics endpoint of a Pod."""

    labels: Mapping[str, str]
    url: str
    ready: bool


def pod_endpoint(pod: Mapping[str, Any]) -> PodEndpoint:
    """The metrics endpoint of a Pod as the API server returns it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = status.get("conditions") or ()
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    host = pod_host(pod)
    return PodEndpoint(
        labels=dict(metadata.get("labels") or {}),
        url=f"http://{host}:{named_port(pod, 'metrics') or _DEFAULT_PORT}/metrics",
        ready=ready and bool(host) and "deletionTimestamp" not in metadata,
    )


def pod_host(pod: Mapping[str, Any]) -> str:
    """The Pod's address as the host of a URL; empty while it has none."""
    address = str((pod.get("status") or {}).get("podIP") or "")
    return f"[{address}]" if ":" in address else address


def named_port(pod: Mapping[str, Any], name: str) -> int | None:
    """The number of a container port; None if no container has a port of that name."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), None)


async def read_limited(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body of a 200 response; None for any other status, or if the body is longer than `max_bytes`."""
    if response.status != 200:
        return None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)
