"""The gauges of queues, which workers and the operator both show, and readings of gauges in general."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from chaski_core.ports import QueueCounts
from chaski_runtime.observability.metrics.registry import QUEUE, MetricsRegistry, Values

_logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueReading:
    """The state of one queue. None is unknown, and shows no series: unknown is not zero."""

    namespace: str
    route: str
    queue: str  # the declared queue's name, or `rung-<name>`
    counts: QueueCounts | None  # of all partitions together
    oldest_message_age_seconds: float | None


class Observers(Generic[T]):
    """Functions that are called at each scrape, on the scraper's thread."""

    def __init__(self) -> None:
        self._reads: tuple[Callable[[], T], ...] = ()  # replaced as a whole, since another thread goes through it

    def add(self, read: Callable[[], T]) -> Callable[[], None]:
        """Adds one; returns a function that removes it."""
        self._reads = (*self._reads, read)
        return partial(self._remove, read)

    def __iter__(self) -> Iterator[Callable[[], T]]:
        return iter(self._reads)

    def _remove(self, read: Callable[[], T]) -> None:
        self._reads = tuple(each for each in self._reads if each is not read)


class QueueGauges:
    """Messages by state, and the age of the oldest."""

    def __init__(self, registry: MetricsRegistry) -> None:
        self._sources: Observers[Iterable[QueueReading]] = Observers()
        self._queues: tuple[QueueReading, ...] = ()
        registry.before_scrape(self._take)
        registry.gauge("chaski_queue_messages", "Messages by state.", (*QUEUE, "state"), self._messages)
        registry.gauge(
            "chaski_queue_oldest_message_age_seconds",
            "Age of the oldest message known.",
            QUEUE,
            lambda: {
                (each.namespace, each.route, each.queue): each.oldest_message_age_seconds
                for each in self._queues
                if each.oldest_message_age_seconds is not None
            },
        )

    def observe(self, read: Callable[[], Iterable[QueueReading]]) -> Callable[[], None]:
        """Calls `read` at each scrape, on the scraper's thread; it must return what is known without waiting.

        Returns a function that ends this.
        """
        return self._sources.add(read)

    def _take(self) -> None:
        self._queues = tuple(readings(self._sources))

    def _messages(self) -> Values:
        return {
            (each.namespace, each.route, each.queue, state): number
            for each in self._queues
            if each.counts is not None
            for state, number in (
                ("visible", each.counts.visible),
                ("in_flight", each.counts.in_flight),
                ("delayed", each.counts.delayed),
            )
        }


def readings(sources: Iterable[Callable[[], Iterable[T]]]) -> Iterator[T]:
    """The readings of every source; one that fails is logged and left out."""
    for read in sources:
        try:
            yield from read()
        except Exception:
            _logger.exception("could not read a gauge; it is left out of this scrape")
