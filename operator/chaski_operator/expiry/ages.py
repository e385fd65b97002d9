"""The age of a route's messages, from the checks of this process and from what the status remembers."""

from collections.abc import Mapping, Sequence
from typing import Any

from chaski_core.ports import Clock
from chaski_core.timestamps import milliseconds, timestamp
from chaski_operator.expiry.policy import Bound, QueueObservation, Row, Served, observed, restored
from chaski_operator.pods.worker_metrics import Pods


class RouteAges:
    """Bounds by row of `status.queues`, and since when each Deployment has workers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bounds: dict[str, Bound] = {}
        self._served: dict[str, Served] = {}  # by Deployment
        self._deployments: dict[str, str] = {}  # by row
        self.sweeper: Pods | None = None  # the figures of the sweeper, which dead-letters what is about to expire

    def set_rows(self, deployments: Mapping[str, str]) -> None:
        """Sets the rows of the route, each with its Deployment; state of other rows is dropped."""
        self._deployments = dict(deployments)
        self._bounds = {row: bound for row, bound in self._bounds.items() if row in self._deployments}
        names = set(self._deployments.values())
        self._served = {name: each for name, each in self._served.items() if name in names}

    def observe(
        self,
        deployment: str,
        urls: Mapping[str, Sequence[str]],
        *,
        totals: Mapping[str, int],
        pods: Pods | None,
        status: Mapping[str, Any],
        created: Mapping[str, int],
    ) -> None:
        """Records one check of a Deployment's queues.

        Args:
            deployment: of the route.
            urls: of its SQS queues, by row.
            totals: messages by row, where they are known.
            pods: the figures of its own workers; None: no worker is ready.
            status: of the route, from which a new process continues.
            created: creation time of each SQS queue by URL, in epoch milliseconds.
        """
        now, monotonic = self._clock.now_ms(), self._clock.monotonic()
        self._served.setdefault(deployment, Served()).record(pods is not None and pods.reporting > 0, monotonic)
        watching = [each for each in (pods, self.sweeper) if each is not None and each.reporting > 0]
        blind = any(each.unresponsive or each.full == each.reporting for each in watching)
        ages = [each.oldest_received_age for each in watching if each.oldest_received_age is not None]
        oldest = round(now - max(ages) * 1000) if ages else None
        for row in urls:
            total = totals.get(row)
            if row not in self._bounds:
                counted = milliseconds(status.get("countsObservedAt"))
                created_at = min(created.get(url, 0) for url in urls[row])
                bound = restored(_row_of(status, row), counted, created_at, total, now)
                if bound is None:
                    continue  # nothing is known about it
                self._bounds[row] = bound
            seen = QueueObservation(total, bool(watching) and not blind, oldest)
            self._bounds[row] = observed(self._bounds[row], seen, now, monotonic)

    def rows(self) -> list[Row]:
        """All rows whose counts have been read at least once."""
        monotonic = self._clock.monotonic()
        return [
            Row(
                name,
                None if bound.empty_checks else bound.since,
                self._served[self._deployments[name]].stable(monotonic),
            )
            for name, bound in sorted(self._bounds.items())
        ]

    def since(self) -> dict[str, str]:
        """`notEmptySince` by row that is not empty, as RFC 3339."""
        return {name: timestamp(bound.since) for name, bound in self._bounds.items() if bound.since is not None}

    def unserved_seconds(self) -> dict[str, float]:
        """The greatest possible age of the messages of each row without workers."""
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
