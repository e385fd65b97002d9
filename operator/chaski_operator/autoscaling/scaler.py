"""The autoscaler of one route: read queues and Pods, decide, set the number of Pods, write the status."""

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.ports import QueueCounts
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import read_resolved_values
from chaski_core.timestamps import milliseconds
from chaski_operator.autoscaling.dependencies import ScalerDependencies
from chaski_operator.autoscaling.held_targets import held_condition, held_events, held_targets, target_rows
from chaski_operator.autoscaling.policy import (
    Decision,
    Observation,
    ScalerState,
    ScalingSpec,
    UnknownReason,
    decide,
)
from chaski_operator.autoscaling.reads import QueueReader, QueueResult, ReadIntervals, RouteReads
from chaski_operator.autoscaling.status import (
    TargetResult,
    conditions_differ,
    conditions_for,
    events_for,
    figures,
    figures_differ,
    replica_values,
)
from chaski_operator.autoscaling.targets import (
    RETRIES,
    ScaleTarget,
    due_soon,
    scaling_spec,
    targets_of,
)
from chaski_operator.expiry.ages import RouteAges
from chaski_operator.expiry.status import expiry_condition, is_sweeping
from chaski_operator.kube.events import WARNING
from chaski_operator.kube.status import rfc3339, status_conditions
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import Document
from chaski_operator.manifests.worker_pod import WorkerDeployment, sweeper_of, worker_deployments
from chaski_operator.pods.ingest_activity import Report
from chaski_operator.pods.worker_metrics import Pods
from chaski_operator.policies.hold import POLICIES_UNKNOWN, POLICY_DENIED, held_route, verdict_of
from chaski_operator.route.policy import is_paused
from chaski_runtime.kube.client import KubeApiError

_log = logging.getLogger(__name__)


class RouteScaler:
    """Scales one route. Its state is lost with the process, without effect on the number of Pods."""

    def __init__(self, key: Key, dependencies: ScalerDependencies) -> None:
        self.key = key
        self._deps = dependencies
        self._reads = RouteReads()
        self._accepted: set[str] = set()  # Deployments whose queues ingest has put messages on since their last check
        self._loaded: tuple[Any, ...] = ()  # generation and `status.resolved` of the targets
        self._targets: list[ScaleTarget] = []
        self._spec = ScalingSpec()
        self._rows: dict[str, str] = {}  # Deployments by row of `status.queues`
        self._suspended: frozenset[str] = frozenset()  # allow rules
        self._states: dict[str, ScalerState] = {}  # by Deployment
        self._queues = QueueReader(dependencies.read_queue, lambda: dependencies.cluster.reconcile(key))
        self._written_at: float | None = None  # monotonic: when the figures were last written
        self._sweeper: WorkerDeployment | None = None
        self.ages = RouteAges(dependencies.clock)
        self.results: dict[str, TargetResult] = {}  # by Deployment, the last decision
        self.ready: dict[str, int] = {}  # by Deployment
        self.counts: dict[str, QueueCounts] = {}  # by row, as far as known

    async def check(self, document: Document) -> bool:
        """One check; False if there is nothing to scale yet. Raises KubeApiError if the status could not be written."""
        if is_paused(document) or document["metadata"].get("deletionTimestamp") or not self._load(document):
            return False
        deployments = self._deployments()
        if deployments is None:
            return False
        woken = await self._wake(deployments)
        pods = await self._scrape_all()
        now = self._deps.clock.monotonic()
        due = [each for each in self._due(pods, now) if each.deployment not in woken]
        urls = {url for target in due for url in target.urls}
        queues = await self._queues.read(urls, at_once=self._deps.intervals.queues_at_once)
        status = document.get("status") or {}
        await asyncio.gather(
            *(self._scale(each, deployments[each.deployment], queues, status, pods[each.deployment]) for each in due)
        )
        self._note_idle(deployments, now)
        await self._report(document)
        return True

    def note(self, report: Report) -> bool:
        """Notes what ingest has reported; True if a check is due at once, because a Pod must be started."""
        stored = {each.deployment for each in self._targets if not report.accepted.isdisjoint(each.urls)}
        if report.lost or stored or any(not report.uncertain.isdisjoint(each.urls) for each in self._targets):
            self._deps.idle.discard(self.key)
            self._reads.stir(self._deps.clock.monotonic())
        self._accepted |= stored
        known = self.results
        return any(name not in known or not known[name].replicas for name in stored)

    async def _wake(self, deployments: Mapping[str, Document]) -> set[str]:
        """Starts a Pod for each queue without one on which ingest has put messages; returns their Deployments.

        Without a reading of the counts, which may be a minute old.
        """
        waiting = [each for each in self._targets if each.deployment in self._accepted]
        woken = [each for each in waiting if not _replicas(deployments[each.deployment])]
        for each in woken:
            self._accepted.discard(each.deployment)
            seen = Observation(0, QueueCounts(1, 0, 0), accepted=True)
            await self._decide(each, seen, None)
        return {each.deployment for each in woken}

    def _load(self, document: Document) -> bool:
        """Loads the targets; False if the route is invalid or its queues do not exist yet."""
        verdict = verdict_of(document)
        if verdict == POLICIES_UNKNOWN:
            return bool(self._targets)  # of the spec that was accepted last
        source = (document["metadata"]["generation"], (document.get("status") or {}).get("resolved"), verdict)
        if source == self._loaded:
            return bool(self._targets)
        self._loaded, self._targets = source, []
        self._reads.reset()
        resolved = held_route(document) if verdict == POLICY_DENIED else self._resolved(document)
        if resolved is None:
            return False
        self._spec = scaling_spec(resolved.route)
        self._suspended = resolved.route.suspended_targets
        self._targets = targets_of(resolved, worker_deployments(resolved))
        self._sweeper = sweeper_of(resolved)
        rows = self._rows = {source.row: target.deployment for target in self._targets for source in target.sources}
        self.ages.set_rows(rows)
        names = {each.deployment for each in self._targets}
        for known in (self._states, self.results, self.ready):
            for removed in known.keys() - names:
                del known[removed]
        self.counts = {row: each for row, each in self.counts.items() if row in rows}
        return True

    def _resolved(self, document: Document) -> ResolvedRoute | None:
        try:
            return read_resolved_values(
                self._deps.loader.load(document), (document.get("status") or {}).get("resolved")
            )
        except InvalidRouteError:
            return None

    def _deployments(self) -> dict[str, Document] | None:
        """The Deployments by name; None if one is missing: the reconciler creates it, and it starts at 1."""
        cluster, namespace = self._deps.cluster, self.key[0]
        found = {each.deployment: cluster.deployment(namespace, each.deployment) for each in self._targets}
        known = {name: each for name, each in found.items() if each is not None}
        return known if len(known) == len(found) else None

    def _due(self, pods: Mapping[str, Pods | None], now: float) -> list[ScaleTarget]:
        """The targets whose counts are read in this check."""
        intervals, reported, due = self._read_intervals(), self._deps.reported(), []
        for each in self._targets:
            figures_of, retries = pods[each.deployment], each.queue == RETRIES
            if self._reads.is_due(each.deployment, intervals, figures_of, now, retries=retries, reported=reported):
                self._reads.was_read(each.deployment, figures_of, now)
                due.append(each)
        return due

    def _read_intervals(self) -> ReadIntervals:
        intervals = self._deps.intervals
        retries = sum(len(each.sources) for each in self._targets if each.queue == RETRIES)
        first = sum(len(each.sources) for each in self._targets) - retries
        to_zero = self._spec.scale_to_zero_after_seconds
        return ReadIntervals(
            intervals.check_seconds, intervals.retries_every, intervals.idle_seconds, to_zero, first, retries
        )

    def _note_idle(self, deployments: Mapping[str, Document], now: float) -> None:
        """Notes whether the route has Pods or messages; an idle one needs few calls to AWS."""
        totals = {row: counts.total if (counts := self.counts.get(row)) else None for row in self._rows}
        self._reads.observe(
            [*map(_replicas, deployments.values()), *(each.replicas for each in self.results.values())],
            totals.values(),
            now,
        )
        if self._reads.is_idle(now) and self._deps.reported():
            self._deps.idle.add(self.key)
        else:
            self._deps.idle.discard(self.key)

    async def _scrape_all(self) -> dict[str, Pods | None]:
        """The figures of all Pods, by Deployment; those of the sweeper as well."""
        if self._sweeper is not None:
            self.ages.sweeper = await self._scrape(self._sweeper.name, self._sweeper.labels)
        found = await asyncio.gather(*(self._scrape(each.deployment, each.labels) for each in self._targets))
        return {each.deployment: pods for each, pods in zip(self._targets, found, strict=True)}

    async def _scrape(self, deployment: str, labels: Mapping[str, str]) -> Pods | None:
        """The figures of a Deployment's ready Pods; None if it has none."""
        ready = await self._deps.cluster.ready_pods(self.key[0], deployment, labels)
        self.ready[deployment] = len(ready.urls) + ready.unknown
        if not self.ready[deployment]:
            return None
        pods = await self._deps.scrape_pods(ready.urls)
        return replace(pods, unresponsive=pods.unresponsive + ready.unknown)

    def _keep_counts(self, target: ScaleTarget, known: Mapping[str, QueueCounts]) -> None:
        """Keeps the counts of each row of which all queues were read."""
        for row, urls in target.urls_by_row().items():
            self.counts.pop(row, None)
            if all(url in known for url in urls):
                self.counts[row] = QueueCounts.of([known[url] for url in urls])

    async def _scale(
        self,
        target: ScaleTarget,
        deployment: Document,
        queues: Mapping[str, QueueResult],
        status: Document,
        pods: Pods | None,
    ) -> None:
        known = {url: each for url, each in queues.items() if isinstance(each, QueueCounts)}
        unknown = [each for source in target.sources if isinstance(each := queues[source.url], UnknownReason)]
        self._keep_counts(target, known)
        replicas = _replicas(deployment)
        accepted = target.deployment in self._accepted
        self._accepted.discard(target.deployment)
        totals = {row: each.total for row, each in self.counts.items()}
        self.ages.observe(
            target.deployment,
            target.urls_by_row(),
            totals=totals,
            pods=pods,
            status=status,
            created=self._queues.created,
        )
        if unknown:
            seen = Observation(replicas, None, unknown=min(unknown, key=list(UnknownReason).index))
        else:
            seen = Observation(replicas, due_soon(target, known, self._spec), pods)
        await self._decide(target, replace(seen, accepted=accepted), pods)

    async def _decide(self, target: ScaleTarget, seen: Observation, pods: Pods | None) -> None:
        """Decides about a target, applies the decision, and keeps it for the report."""
        now = self._deps.clock.monotonic()
        state = self._states.get(target.deployment) or ScalerState(now)
        decision = decide(self._spec, seen, state, now, self._deps.intervals.scaling)
        self._states[target.deployment] = decision.state
        after = await self._set_replicas(target, seen.replicas, decision)
        shortages: frozenset[tuple[str, str]] = pods.shortages if pods else frozenset()
        holds: frozenset[tuple[str, str]] = pods.holds if pods else frozenset()
        if pods is not None and not pods.reporting and (before := self.results.get(target.deployment)) is not None:
            holds = before.holds  # none of them answered: unknown is not the end of a hold
        self.results[target.deployment] = TargetResult(target.queue, after, decision, shortages, holds)

    async def _set_replicas(self, target: ScaleTarget, replicas: int, decision: Decision) -> int:
        """Applies a decision; returns the number of replicas after it."""
        namespace, route = self.key
        count_failure = self._deps.metrics.scaling_failed
        if decision.unknown is not None:
            reason = "pods" if decision.unknown is UnknownReason.PODS else "counts"
            count_failure(namespace=namespace, route=route, queue=target.queue, reason=reason)
        wanted = decision.replicas
        if wanted is None:
            return replicas
        try:
            await self._deps.cluster.scale(namespace, target.deployment, was=replicas, replicas=wanted)
        except KubeApiError as error:
            _log.warning("%s/%s: could not scale %s: %s", *self.key, target.deployment, error)
            count_failure(namespace=namespace, route=route, queue=target.queue, reason="apply")
            return replicas
        direction = "from_zero" if not replicas else "to_zero" if not wanted else "up" if wanted > replicas else "down"
        self._deps.metrics.scaled(namespace=namespace, route=route, queue=target.queue, direction=direction)
        change = (target.deployment, replicas, wanted, decision.unknown or decision.wanted)
        _log.info("%s/%s: scaled %s from %d to %d Pods, wanted %s", *self.key, *change)
        return wanted

    async def _report(self, document: Document) -> None:
        """Writes conditions at once and figures once a minute; posts events; has the sweeper started or stopped."""
        status = document.get("status") or {}
        now_ms = self._deps.clock.now_ms()
        now = rfc3339(now_ms / 1000)
        expiry = expiry_condition(self.ages.rows(), now_ms, sweeping=is_sweeping(status))
        results = list(self.results.values())
        held = held_targets(self._suspended, (each for result in results for each in result.holds))
        conditions = [*conditions_for(self._spec, results), held_condition(held), expiry]
        known = status.get("conditions") or ()
        wanted = status_conditions(conditions, known, document["metadata"]["generation"], now)
        replicas = {each.queue: (each.replicas, each.decision.wanted) for each in results if each.queue != RETRIES}
        rows = status.get("targets") or ()
        numbers = figures(self.counts, replicas, self.ages.since(), now) | {"targets": target_rows(held, rows, now)}
        intervals, age = self._deps.intervals, self._figures_age(status)
        changed = age >= intervals.same_figures_seconds or figures_differ(numbers, status)
        events = [*events_for(known, conditions), *held_events(held, rows)]
        if conditions_differ(wanted, status) or (age >= intervals.figures_seconds and changed):
            await self._deps.cluster.write_status(self.key, {"conditions": wanted, **numbers})
            self._written_at = self._deps.clock.monotonic()
        if is_sweeping({"conditions": wanted}) != is_sweeping(status):
            self._deps.cluster.reconcile(self.key)  # which creates or deletes the sweeper
        for each in events:
            if each.type == WARNING:
                _log.warning("%s/%s: %s", *self.key, each.message)
        if events:
            await self._deps.cluster.post_events(document["metadata"], events, now)

    def _figures_age(self, status: Document) -> float:
        """Seconds since the figures were last written, by this process or by an earlier one: a restart alone writes nothing."""
        now = self._deps.clock.monotonic()
        if self._written_at is None:
            counted = milliseconds(status.get("countsObservedAt"))
            age = math.inf if counted is None else max(0.0, (self._deps.clock.now_ms() - counted) / 1000)
            self._written_at = now - age
        return now - self._written_at

    def replicas(self) -> dict[tuple[str, ...], int]:
        """Values of the gauge, by namespace, route, queue and state."""
        return replica_values(self.key, self._spec, self.results, self.ready)


def _replicas(deployment: Document) -> int:
    return int(deployment["spec"].get("replicas", 1))
