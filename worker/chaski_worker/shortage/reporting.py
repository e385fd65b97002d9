"""The shortages of one worker: each is logged once, however many messages wait for it to end."""

import logging
from dataclasses import dataclass

from chaski_core.ports import Clock
from chaski_core.route.model import Route
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.metrics.prometheus import Values
from chaski_worker.shortage.classify import Shortage, ShortageReason

#: A shortage is over when it has not been met for so long: longer than any message waits for it.
QUIET_SECONDS = 120.0
_log = logging.getLogger(__name__)
_ALL_TARGETS = ""


@dataclass(slots=True)
class _Episode:
    since: float  # monotonic seconds
    last: float  # as above


class Shortages:
    """What one route's worker lacks, by reason and, where only one rule is concerned, its target."""

    def __init__(self, route: Route, metrics: Metrics, clock: Clock) -> None:
        self._route = route
        self._metrics = metrics
        self._clock = clock
        self._episodes: dict[tuple[ShortageReason, str], _Episode] = {}  # at most one a reason and rule
        metrics.observe_shortages(self._active)

    def met(self, shortage: Shortage) -> float:
        """An attempt could not be made; seconds since the shortage began."""
        route, now = self._route, self._clock.monotonic()
        self._metrics.shortage(
            namespace=route.namespace, route=route.name, target=shortage.target, reason=shortage.reason
        )
        key = (shortage.reason, shortage.target if shortage.of_one_target else _ALL_TARGETS)
        episode = self._episodes.get(key)
        if episode is None or now - episode.last > QUIET_SECONDS:
            episode = self._episodes[key] = _Episode(now, now)
            self._log(shortage)
        episode.last = now
        return now - episode.since

    def _log(self, shortage: Shortage) -> None:
        fields = {
            "event.action": "shortage",
            "chaski.shortage.reason": shortage.reason.value,
            "labels.namespace": self._route.namespace,
            "labels.route": self._route.name,
            "labels.target": shortage.target,
        }
        _log.error(
            "%s, target %s: %s; messages wait until that is over, and are not charged",
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
