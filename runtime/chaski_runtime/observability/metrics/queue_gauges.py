"""The gauges of queues, which workers and the operator both show."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from chaski_core.ports import QueueCounts
from chaski_runtime.observability.metrics.prometheus import Values
from chaski_runtime.observability.metrics.registry import QUEUE, MetricsRegistry

_logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueReading:
    """What is known of one line. None is unknown, and shows no series: unknown is not zero."""

    namespace: str
    route: str
    queue: str  # the declared queue's name, or `rung-<name>`
    counts: QueueCounts | None  # of all partitions together
    oldest_message_age_seconds: float | None


class QueueGauges:
    """Messages by state, and the age of the oldest."""

    def __init__(self, meters: MetricsRegistry) -> None:
        self.sources: list[Callable[[], Iterable[QueueReading]]] = []
        self._queues: tuple[QueueReading, ...] = ()
        meters.gauge("chaski_queue_messages", "Messages by state.", (*QUEUE, "state"), self._messages)
        meters.gauge(
            "chaski_queue_oldest_message_age_seconds",
            "Age of the oldest message known.",
            QUEUE,
            lambda: {
                (line.namespace, line.route, line.queue): line.oldest_message_age_seconds
                for line in self._queues
                if line.oldest_message_age_seconds is not None
            },
        )

    def take(self) -> None:
        """Asks every source."""
        self._queues = tuple(readings(self.sources))

    def _messages(self) -> Values:
        return {
            (line.namespace, line.route, line.queue, state): number
            for line in self._queues
            if line.counts is not None
            for state, number in (
                ("visible", line.counts.visible),
                ("in_flight", line.counts.in_flight),
                ("delayed", line.counts.delayed),
            )
        }


def readings(sources: Iterable[Callable[[], Iterable[T]]]) -> Iterator[T]:
    """What every source says; one that fails is told of and left out."""
    for read in sources:
        try:
            yield from read()
        except Exception:
            _logger.exception("a gauge could not be read; it is left out of this scrape")
