"""One route's looks at its queues and Pods: gather, decide, set the number of Pods, say so in the status."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from chaski_core.errors import BackendError, BackendRejectedError, InvalidRouteError
from chaski_core.ports import Clock, QueueCounts
from chaski_core.route.loading import load_route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import read_resolved_values
from chaski_core.route.validation.crd import known_part
from chaski_operator.autoscaling.policy import (
    PACE,
    Decision,
    Limits,
    Mode,
    Observation,
    Pods,
    ScalerState,
    ScalingLimits,
    UnknownReason,
    decide,
)
from chaski_operator.autoscaling.status import (
    LineResult,
    conditions,
    conditions_differ,
    figures,
    figures_differ,
    news_of,
    said_of,
)
from chaski_operator.autoscaling.targets import (
    RETRIES,
    Line,
    Workers,
    counts_of,
    due_soon,
    limits_of,
    lines_of,
    settings_of,
)
from chaski_operator.expiry.ages import RouteAges
from chaski_operator.expiry.status import is_sweeping, said_of_expiry
from chaski_operator.kube.event_posting import WARNING, News
from chaski_operator.manifests.names import PAUSED
from chaski_runtime.kube.client import KubeApiError
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics

_log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name
Object = Mapping[str, Any]


class Cluster(Protocol):
    """What the autoscaler needs of the cluster."""

    def routes(self) -> Mapping[Key, Object]:
        """All ChaskiRoutes, as they were last seen."""
        ...

    def deployment(self, namespace: str, name: str) -> Object | None:
        """A worker Deployment, as it was last seen."""
        ...

    def ready_pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[str]:
        """Where the ready Pods with these labels show their metrics."""
        ...

    async def scale(self, namespace: str, name: str, *, was: int, replicas: int) -> None:
        """Sets `spec.replicas` if it still is `was`. Raises KubeApiError, also where it is another by now."""
        ...

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """Applies the autoscaler's part of the status. Raises KubeApiError."""
        ...

    async def tell(self, metadata: Mapping[str, Any], news: Sequence[News], now: str) -> None:
        """Posts events on a route; one that can't be posted is lost."""
        ...

    def reconcile(self, key: Key) -> None:
        """Has the route looked at as a whole, soon."""
        ...


@dataclass(frozen=True, slots=True)
class ScalerIntervals:
    """How often is looked."""

    #: Seconds between two looks at a route.
    look_seconds: float = 10.0

    #: Seconds between two looks at which routes there are, and whether a new one is made.
    roster_seconds: float = 1.0

    #: The error-consumer's queues are looked at every so many looks: their delays are longer.
    retries_every: int = 3

    #: Seconds that a look may take, and routes looked at at once.
    most_seconds: float = 30.0
    routes_at_once: int = 64

    #: Queues of one route asked at once.
    queues_at_once: int = 8

    #: Seconds between two writes of counts to a route's status; conditions are written when they change.
    figures_seconds: float = 60.0

    #: Seconds after which counts are written that are the same: a queue without messages is known to be empty since then.
    same_figures_seconds: float = 21_600.0

    #: How numbers of Pods change.
    scaling: ScalingLimits = PACE


@dataclass(frozen=True)
class Parts:
    """What all routes share."""

    cluster: Cluster
    read_queue: Callable[[str], Awaitable[Mapping[str, str]]]  # URL -> attributes; raises BackendError
    ask_pods: Callable[[Sequence[str]], Awaitable[Pods]]  # URLs -> what they tell together
    workers_of: Callable[[ResolvedRoute], Sequence[Workers]]
    sweeper_of: Callable[[ResolvedRoute], Workers]  # keeps what is about to expire, where it runs
    metrics: OperatorMetrics
    clock: Clock
    pace: ScalerIntervals = field(default_factory=ScalerIntervals)


class RouteScaler:
    """Looks at one route; what it remembers is lost with the process, and nothing changes by that."""

    def __init__(self, key: Key, parts: Parts) -> None:
        self.key = key
        self._parts = parts
        self._looks = 0
        self._source: tuple[Any, ...] = ()
        self._lines: list[Line] = []
        self._limits = Limits()
        self._memories: dict[str, ScalerState] = {}
        self._settings: dict[str, tuple[tuple[str, str], ...]] = {}  # URL -> as last seen
        self._written_at = float("-inf")
        self._created: dict[str, int] = {}  # URL -> epoch milliseconds at which the queue was made
        self._sweeper: Mapping[str, str] = {}  # labels
        self.ages = RouteAges(parts.clock)
        self.judged: dict[str, LineResult] = {}  # by Deployment, the last decision
        self.ready: dict[str, int] = {}  # by Deployment
        self.counts: dict[str, QueueCounts] = {}  # by row, as far as known

    async def look(self, document: Object) -> bool:
        """One look; False where there is nothing to look at yet. Raises KubeApiError: the status could not be written."""
        metadata = document["metadata"]
        paused = (metadata.get("annotations") or {}).get(PAUSED) == "disabled"
        if paused or metadata.get("deletionTimestamp") or not self._load(document):
            return False
        deployments = self._deployments()
        if deployments is None:
            return False
        due = [
            each for each in self._lines if each.queue != RETRIES or self._looks % self._parts.pace.retries_every == 0
        ]
        self._looks += 1
        found = await self._ask_queues({source.url for line in due for source in line.sources})
        self.ages.sweeper = await self._ask_pods(self._sweeper)
        status = document.get("status") or {}
        await asyncio.gather(*(self._scale(line, deployments[line.deployment], found, status) for line in due))
        await self._say(document)
        return True

    def _load(self, document: Object) -> bool:
        """Whether the route can be scaled: it is valid, and its queues are there."""
        source = (document["metadata"]["generation"], (document.get("status") or {}).get("resolved"))
        if source == self._source:
            return bool(self._lines)
        self._source, self._lines = source, []
        try:
            route = load_route(known_part(document))
            resolved = read_resolved_values(route, source[1])
        except InvalidRouteError:
            return False
        self._limits = limits_of(route)
        self._lines = lines_of(resolved, self._parts.workers_of(resolved))
        self._sweeper = dict(self._parts.sweeper_of(resolved).labels)
        self.ages.keep(self._lines)
        names = {each.deployment for each in self._lines}
        for known in (self._memories, self.judged, self.ready):
            for gone in known.keys() - names:
                del known[gone]
        rows = {source.row for line in self._lines for source in line.sources}
        self.counts = {row: each for row, each in self.counts.items() if row in rows}
        return True

    # ---- gather

    def _deployments(self) -> dict[str, Object] | None:
        """By name; None where one is missing: the reconciler makes it, and it starts at 1."""
        found = {each.deployment: self._parts.cluster.deployment(self.key[0], each.deployment) for each in self._lines}
        known = {name: each for name, each in found.items() if each is not None}
        return known if len(known) == len(found) else None

    async def _ask_queues(self, urls: Iterable[str]) -> dict[str, QueueCounts | UnknownReason]:
        slots = asyncio.Semaphore(self._parts.pace.queues_at_once)

        async def ask(url: str) -> tuple[str, QueueCounts | UnknownReason]:
            async with slots:
                return url, await self._ask_queue(url)

        return dict(await asyncio.gather(*(ask(url) for url in urls)))

    async def _ask_queue(self, url: str) -> QueueCounts | UnknownReason:
        try:
            attributes = await self._parts.read_queue(url)
            counts = counts_of(attributes)
        except BackendRejectedError as error:
            if "Denied" in error.code:
                return UnknownReason.DENIED
            self._compare(url, ((error.code, ""),))  # it is gone, say
            return UnknownReason.UNAVAILABLE
        except (BackendError, ValueError):
            return UnknownReason.UNAVAILABLE
        self._compare(url, settings_of(attributes))
        created = attributes.get("CreatedTimestamp", "")
        self._created[url] = int(created) * 1000 if created.isdecimal() else 0
        return counts

    def _compare(self, url: str, settings: tuple[tuple[str, str], ...]) -> None:
        """Has the route reconciled where a queue is not as it was at the last look."""
        if self._settings.setdefault(url, settings) != settings:
            self._settings[url] = settings
            self._parts.cluster.reconcile(self.key)

    # ---- decide and do

    async def _ask_pods(self, labels: Mapping[str, str]) -> Pods | None:
        urls = self._parts.cluster.ready_pods(self.key[0], labels)
        return await self._parts.ask_pods(urls) if urls else None

    async def _scale(
        self, line: Line, deployment: Object, found: Mapping[str, QueueCounts | UnknownReason], status: Object
    ) -> None:
        known = {url: each for url, each in found.items() if isinstance(each, QueueCounts)}
        doubts = [each for source in line.sources if isinstance(each := found[source.url], UnknownReason)]
        self._note_counts(line, known)
        replicas = int(deployment["spec"].get("replicas", 1))
        self.ready[line.deployment] = len(self._parts.cluster.ready_pods(self.key[0], line.labels))
        pods = await self._ask_pods(line.labels)
        self.ages.look(line, {row: each.total for row, each in self.counts.items()}, pods, status, self._created)
        if doubts:
            look = Observation(replicas, None, doubt=min(doubts, key=list(UnknownReason).index))
        else:
            look = Observation(replicas, due_soon(line, known, self._limits), pods)
        now = self._parts.clock.monotonic()
        memory = self._memories.get(line.deployment) or ScalerState(now)
        decision = decide(self._limits, look, memory, now, self._parts.pace.scaling)
        self._memories[line.deployment] = decision.memory
        target = await self._apply(line, replicas, decision)
        self.judged[line.deployment] = LineResult(line.queue, target, decision, pods.shortages if pods else frozenset())

    async def _apply(self, line: Line, replicas: int, decision: Decision) -> int:
        namespace, route = self.key
        tell = self._parts.metrics.scaling_failed
        if decision.doubt is not None:
            reason = "pods" if decision.doubt is UnknownReason.PODS else "counts"
            tell(namespace=namespace, route=route, queue=line.queue, reason=reason)
        target = replicas
        if decision.replicas is not None:
            try:
                await self._parts.cluster.scale(namespace, line.deployment, was=replicas, replicas=decision.replicas)
            except KubeApiError as error:
                _log.warning("%s/%s: %s was not scaled: %s", *self.key, line.deployment, error)
                tell(namespace=namespace, route=route, queue=line.queue, reason="apply")
            else:
                target = decision.replicas
                self._tell_scaled(line, replicas, target, decision)
        return target

    def _tell_scaled(self, line: Line, was: int, target: int, decision: Decision) -> None:
        direction = "from_zero" if not was else "to_zero" if not target else "up" if target > was else "down"
        self._parts.metrics.scaled(namespace=self.key[0], route=self.key[1], queue=line.queue, direction=direction)
        _log.info(
            "%s/%s: %s from %d to %d Pods, wanted %s",
            *self.key, line.deployment, was, target, decision.doubt or decision.wanted,
        )  # fmt: skip

    def _note_counts(self, line: Line, known: Mapping[str, QueueCounts]) -> None:
        for row in dict.fromkeys(source.row for source in line.sources):
            parts = [known.get(source.url) for source in line.sources if source.row == row]
            self.counts.pop(row, None)
            if all(each is not None for each in parts):
                told = [each for each in parts if each is not None]
                self.counts[row] = QueueCounts(
                    sum(each.visible for each in told),
                    sum(each.in_flight for each in told),
                    sum(each.delayed for each in told),
                )

    # ---- say

    async def _say(self, document: Object) -> None:
        status = document.get("status") or {}
        now_ms = self._parts.clock.now_ms()
        now = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        expiry = said_of_expiry(self.ages.rows(), now_ms, sweeping=is_sweeping(status))
        said = [*said_of(self._limits, list(self.judged.values())), expiry]
        mine = conditions(said, status.get("conditions") or (), document["metadata"]["generation"], now)
        wanted = {
            each.queue: (each.replicas, each.decision.wanted) for each in self.judged.values() if each.queue != RETRIES
        }
        told = figures(self.counts, wanted, self.ages.since(), now)
        pace, age = self._parts.pace, self._parts.clock.monotonic() - self._written_at
        late = age >= pace.figures_seconds and (figures_differ(told, status) or age >= pace.same_figures_seconds)
        news = news_of(status.get("conditions") or (), said)
        if conditions_differ(mine, status) or late:
            await self._parts.cluster.write_status(self.key, {"conditions": mine, **told})
            self._written_at = self._parts.clock.monotonic()
        if is_sweeping({"conditions": mine}) != is_sweeping(status):
            self._parts.cluster.reconcile(self.key)  # which makes the worker, or takes it away
        for each in news:
            if each.type == WARNING:
                _log.warning("%s/%s: %s", *self.key, each.message)
        if news:
            await self._parts.cluster.tell(document["metadata"], news, now)

    def replicas(self) -> dict[tuple[str, ...], int]:
        """For the gauge: by namespace, route, queue and state."""
        shown: dict[tuple[str, ...], int] = {}
        for deployment, each in self.judged.items():
            labels = (*self.key, each.queue)
            if each.decision.wanted is not None and self._limits.mode is not Mode.DISABLED:
                shown[*labels, "wanted"] = each.decision.wanted
            shown[*labels, "set"] = each.replicas
            shown[*labels, "ready"] = self.ready.get(deployment, 0)
        return shown
