"""Reports the shortages of one worker: each cause is logged once, however many messages wait for its end."""

import logging
from dataclasses import dataclass

from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_runtime.observability.metrics.registry import Values
from chaski_runtime.process import descriptors
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.shortage.detection import Shortage, ShortageReason

#: A shortage is over when it has not been observed for this long: longer than any message waits for it.
QUIET_SECONDS = 120.0
#: Another cause of the same shortage is logged after this time, so that causes that alternate do not fill the log.
_CAUSES_APART_SECONDS = 30.0
_log = logging.getLogger(__name__)
_ALL_TARGETS = ""
_OF_THE_PROCESS = 32  # descriptors that a worker has open before it delivers anything, in `chaski dev` as well


@dataclass(slots=True)
class _Episode:
    since: float  # monotonic seconds
    last: float  # monotonic seconds
    cause: str = ""  # as it was logged
    logged_at: float = 0.0  # monotonic seconds


class Shortages:
    """The shortages of one route's worker, by reason and, where only one rule is affected, its target."""

    def __init__(self, route: Route, metrics: WorkerMetrics, clock: Clock) -> None:
        self._route = route
        self._metrics = metrics
        self._clock = clock
        self._episodes: dict[tuple[ShortageReason, str], _Episode] = {}  # at most one for each reason and rule
        self.end_observation = metrics.observe_shortages(self._active)  # of the gauge

    def observe(self, shortage: Shortage) -> float:
        """An attempt could not be made; returns seconds since the shortage began."""
        route, now = self._route, self._clock.monotonic()
        self._metrics.shortages.add((route.namespace, route.name, shortage.target, shortage.reason))
        key = (shortage.reason, shortage.target if shortage.of_one_target else _ALL_TARGETS)
        episode = self._episodes.get(key)
        if episode is None or now - episode.last > QUIET_SECONDS:
            episode = self._episodes[key] = _Episode(now, now)
            self._log(shortage, episode, now)
        elif (
            shortage.of_one_target
            and shortage.detail != episode.cause
            and now - episode.logged_at >= _CAUSES_APART_SECONDS
        ):
            self._log(shortage, episode, now)
        episode.last = now
        return now - episode.since

    def _log(self, shortage: Shortage, episode: _Episode, now: float) -> None:
        episode.cause, episode.logged_at = shortage.detail, now
        fields = {
            "event.action": "shortage",
            "chaski.shortage.reason": shortage.reason.value,
            "labels.namespace": self._route.namespace,
            "labels.route": self._route.name,
            "labels.target": shortage.target,
        }
        _log.error(
            "%s, target %s: %s; messages wait until the shortage ends, and no attempt is counted",
            self._route.key,
            shortage.target,
            shortage.detail,
            extra={"ecs": fields},
        )

    def _active(self) -> Values:
        now, route = self._clock.monotonic(), self._route
        return {
            (route.namespace, route.name, target or "all", reason.value): int(now - episode.last <= QUIET_SECONDS)
            for (reason, target), episode in self._episodes.items()
        }


def too_few_descriptors(concurrency: int, consumers: int, limit: int | None) -> str | None:
    """Why the limit on open files is too low, with the fix; None where it is high enough.

    Args:
        concurrency: `delivery.concurrencyPerPod`; each attempt takes one descriptor.
        consumers: in this process; each makes up to `concurrency` attempts at once.
        limit: of this process; None: no limit.
    """
    ceiling = descriptors.ceiling(limit)
    if ceiling is None:
        return None
    possible = max(1, ceiling - _OF_THE_PROCESS)
    if concurrency * consumers <= possible:
        return None
    return (
        f"delivery.concurrencyPerPod {concurrency} needs up to {concurrency * consumers} connections at once, and the"
        f" limit of {limit} open files leaves {possible}: messages will wait for descriptors. Raise the hard limit"
        " (ulimit -Hn, LimitNOFILE= of systemd, the container runtime's), or set concurrencyPerPod to"
        f" {max(1, possible // consumers)}"
    )
