"""What one process knows of the age of a route's messages: its looks, put together with what the status remembers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaski_core.ports import Clock
from chaski_core.timestamps import milliseconds, timestamp
from chaski_operator.autoscaling.policy import Pods
from chaski_operator.autoscaling.targets import Line
from chaski_operator.expiry.policy import Bound, QueueObservation, Row, Served, observed, restored


class RouteAges:
    """Bounds by row of `status.queues`, and since when each line has workers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bounds: dict[str, Bound] = {}
        self._served: dict[str, Served] = {}  # by Deployment
        self._deployments: dict[str, str] = {}  # by row
        self.sweeper: Pods | None = None  # what the worker tells that keeps what is about to expire

    def keep(self, lines: Iterable[Line]) -> None:
        """These are the lines from now on; what is known of others is dropped."""
        self._deployments = {source.row: line.deployment for line in lines for source in line.sources}
        self._bounds = {row: bound for row, bound in self._bounds.items() if row in self._deployments}
        names = set(self._deployments.values())
        self._served = {name: each for name, each in self._served.items() if name in names}

    def look(
        self,
        line: Line,
        totals: Mapping[str, int],
        pods: Pods | None,
        status: Mapping[str, Any],
        created: Mapping[str, int],
    ) -> None:
        """Takes in a look at a line.

        Args:
            line: of the route.
            totals: messages by row, where they are known.
            pods: what the line's own workers told; None: there is none that is ready.
            status: of the route, from which a new process goes on.
            created: epoch milliseconds at which each SQS queue was made, by URL.
        """
        now, monotonic = self._clock.now_ms(), self._clock.monotonic()
        answering = pods is not None and pods.told > 0
        self._served.setdefault(line.deployment, Served()).note(answering, monotonic)
        watching = [each for each in (pods, self.sweeper) if each is not None and each.told > 0]
        attended = bool(watching) and not any(each.silent or each.full == each.told for each in watching)
        ages = [each.oldest_received_age for each in watching if each.oldest_received_age is not None]
        oldest = round(now - max(ages) * 1000) if ages else None
        for row in dict.fromkeys(source.row for source in line.sources):
            total = totals.get(row)
            if row not in self._bounds:
                urls = [source.url for source in line.sources if source.row == row]
                told = _row_of(status, row)
                counted = milliseconds(status.get("countsObservedAt"))
                begun = restored(told, counted, min(created.get(url, 0) for url in urls), total, now)
                if begun is None:
                    continue  # nothing is known of it
                self._bounds[row] = begun
            self._bounds[row] = observed(self._bounds[row], QueueObservation(total, attended, oldest), now, monotonic)

    def rows(self) -> list[Row]:
        """All rows that were counted once."""
        monotonic = self._clock.monotonic()
        return [
            Row(
                name,
                None if bound.empty_looks else bound.since,
                self._served[self._deployments[name]].settled(monotonic),
            )
            for name, bound in sorted(self._bounds.items())
        ]

    def since(self) -> dict[str, str]:
        """`notEmptySince` by row, where it is not empty: RFC 3339."""
        return {name: timestamp(bound.since) for name, bound in self._bounds.items() if bound.since is not None}

    def unserved_seconds(self) -> dict[str, float]:
        """How old the messages of rows without workers can be."""
        now = self._clock.now_ms()
        return {
            name: (now - bound.since) / 1000
            for name, bound in self._bounds.items()
            if bound.since is not None and not self._served[self._deployments[name]].answering
        }


def _row_of(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    rows: Sequence[Mapping[str, Any]] = status.get("queues") or ()
    row = dict(next((each for each in rows if each["name"] == name), {}))
    return row | {"notEmptySince": milliseconds(row.get("notEmptySince"))}
