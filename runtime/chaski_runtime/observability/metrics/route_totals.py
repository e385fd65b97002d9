"""The main counters of each route, which the console of `chaski dev` shows as rates."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from chaski_runtime.observability.metrics.counters import CounterTally, HistogramTally

Labels = tuple[str, ...]  # the first two are namespace and route


@dataclass(frozen=True, slots=True)
class RouteTotals:
    """What this process has counted for one route since it started."""

    accepted: int = 0
    delivered: int = 0
    attempts: int = 0
    failed: int = 0  # attempts that were not delivered
    dead_letters: int = 0

    def __add__(self, other: "RouteTotals") -> "RouteTotals":
        return RouteTotals(
            self.accepted + other.accepted,
            self.delivered + other.delivered,
            self.attempts + other.attempts,
            self.failed + other.failed,
            self.dead_letters + other.dead_letters,
        )


def by_route(
    tally: CounterTally | HistogramTally, *, include: Callable[[Labels], bool] = lambda _: True
) -> dict[str, int]:
    """The totals of a tally by `namespace/name` of the route; only the label sets that `include` accepts."""
    sums: dict[str, int] = {}
    for labels, number in tally.totals().items():
        if include(labels):
            key = f"{labels[0]}/{labels[1]}"
            sums[key] = sums.get(key, 0) + number
    return sums


def sum_totals(totals: Iterable[Mapping[str, RouteTotals]]) -> dict[str, RouteTotals]:
    """Totals of several sources together, by `namespace/name` of the route."""
    sums: dict[str, RouteTotals] = {}
    for each in totals:
        for key, value in each.items():
            sums[key] = sums.get(key, RouteTotals()) + value
    return sums
