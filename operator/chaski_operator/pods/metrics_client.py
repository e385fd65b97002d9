"""HTTP requests to Pods: the scraper of the workers' metrics, and the address and port of a Pod."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from chaski_operator.pods.worker_metrics import PodFigures, Pods, combine, figures

_DEFAULT_PORT = 9090
_MAX_PAGE_BYTES = 16 * 1024 * 1024


class Scraper:
    """Scrapes Pods. A Pod that does not answer within `seconds`, or not with a worker's page, is unresponsive."""

    def __init__(self, *, seconds: float = 3.0, at_once: int = 64) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def scrape(self, urls: Sequence[str]) -> Pods:
        """The combined figures of the Pods at these URLs."""
        return combine(await asyncio.gather(*(self._scrape_one(url) for url in urls)))

    async def _scrape_one(self, url: str) -> PodFigures | None:
        try:
            async with self._slots, self._session.get(url, allow_redirects=False) as response:
                page = await read_limited(response, _MAX_PAGE_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return None if page is None else figures(page.decode("utf-8", "replace"))


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
