"""What worker Pods tell of themselves on `/metrics`, and what that is together."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from chaski_operator.autoscaling.policy import Pods
from chaski_operator.pods.address import named_port, pod_host, read_answer

_USUAL_PORT = 9090
_MAX_PAGE_BYTES = 16 * 1024 * 1024
_SUMMED = {
    "chaski_lanes": "lanes",
    "chaski_lanes_limit": "lanes_limit",
    "chaski_held_bytes": "held_bytes",
    "chaski_held_bytes_limit": "held_bytes_limit",
    "chaski_subjects": "subjects",
    "chaski_attempts_total": "attempts",
}
_SHORTAGE = "chaski_shortage{"
_LABEL = re.compile(r'(reason|target)="((?:[^"\\]|\\.)*)"')
_MOST = {"chaski_attempt_mean_seconds": "mean", "chaski_queue_oldest_received_age_seconds": "oldest"}


@dataclass(frozen=True, slots=True)
class PodFigures:
    """One Pod's."""

    lanes: int
    full: bool  # it holds all that it may
    subjects: int
    attempts: int
    attempt_seconds: float | None
    oldest_received_age: float | None = None
    shortages: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule


class Scraper:
    """Asks Pods. Each has so many seconds; one that does not answer in time, or with nonsense, is silent."""

    def __init__(self, *, seconds: float = 3.0, at_once: int = 64) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()

    async def ask(self, urls: Sequence[str]) -> Pods:
        """What the Pods at these addresses tell, together."""
        return together(await asyncio.gather(*(self._ask(url) for url in urls)))

    async def _ask(self, url: str) -> PodFigures | None:
        try:
            async with self._slots, self._session.get(url, allow_redirects=False) as response:
                page = await read_answer(response, _MAX_PAGE_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return None if page is None else figures(page.decode("utf-8", "replace"))


def figures(page: str) -> PodFigures | None:
    """The figures of a page in Prometheus' text format; None where it is no worker's."""
    try:
        found, most = _read(page)
    except ValueError:
        return None
    if "lanes" not in found or "lanes_limit" not in found:
        return None
    full = found["lanes"] >= found["lanes_limit"] or found.get("held_bytes", 0) >= found.get("held_bytes_limit", 1)
    lanes, subjects = int(found["lanes"]), int(found.get("subjects", 0))
    attempts, mean, oldest = int(found.get("attempts", 0)), most.get("mean"), most.get("oldest")
    return PodFigures(lanes, full, subjects, attempts, mean, oldest, _shortages(page))


def _shortages(page: str) -> frozenset[tuple[str, str]]:
    lacking = (line for line in page.splitlines() if line.startswith(_SHORTAGE) and _value(line) > 0)
    labels = (dict(_LABEL.findall(line)) for line in lacking)
    return frozenset((each.get("reason", ""), each.get("target", "")) for each in labels)


def _read(page: str) -> tuple[dict[str, float], dict[str, float]]:
    found: dict[str, float] = {}
    most: dict[str, float] = {}
    for line in page.splitlines():
        name = line[: line.find("{")] if "{" in line else ""
        if name in _SUMMED:
            found[_SUMMED[name]] = found.get(_SUMMED[name], 0.0) + _value(line)
        elif name in _MOST:
            most[_MOST[name]] = max(most.get(_MOST[name], 0.0), _value(line))
    return found, most


def together(told: Sequence[PodFigures | None]) -> Pods:
    """Several Pods' figures as one; how long an attempt takes is weighed by what each holds."""
    pods = [each for each in told if each is not None]
    known = [(each.attempt_seconds, max(1, each.lanes)) for each in pods if each.attempt_seconds is not None]
    weight = sum(lanes for _, lanes in known)
    return Pods(
        told=len(pods),
        silent=len(told) - len(pods),
        full=sum(each.full for each in pods),
        lanes=sum(each.lanes for each in pods),
        subjects=max((each.subjects for each in pods), default=0),
        attempts=sum(each.attempts for each in pods),
        attempt_seconds=sum(seconds * lanes for seconds, lanes in known) / weight if weight else None,
        oldest_received_age=max((age for each in pods if (age := each.oldest_received_age) is not None), default=None),
        shortages=frozenset().union(*(each.shortages for each in pods)),
    )


@dataclass(frozen=True, slots=True)
class PodPlace:
    """Where a Pod is asked."""

    labels: Mapping[str, str]
    url: str
    ready: bool


def pod_place(pod: Mapping[str, Any]) -> PodPlace:
    """What is kept of a Pod: whether it is ready, and where its metrics are."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = status.get("conditions") or ()
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    host = pod_host(pod)
    return PodPlace(
        labels=dict(metadata.get("labels") or {}),
        url=f"http://{host}:{named_port(pod, 'metrics') or _USUAL_PORT}/metrics",
        ready=ready and bool(host) and "deletionTimestamp" not in metadata,
    )


def _value(line: str) -> float:
    return float(line[line.rfind("}") + 1 :])
