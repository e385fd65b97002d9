"""Reconciles one route: observe, apply, report. The same for a new route, a changed one and one that exists already.

A process that is killed anywhere leaves a state from which the next reconciliation continues: the finalizer is set before
anything is created on AWS, queues before the objects that use them, and the state is read from AWS's tags and the
cluster, not from memory.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_core.errors import InvalidRouteError
from chaski_core.ports import Clock
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.validation.crd import GROUP_VERSION, known_part
from chaski_operator.expiry.status import is_sweeping
from chaski_operator.kube.apply import Applied, Applier, ForeignObjectError
from chaski_operator.kube.cache import ObjectCache, RouteCache
from chaski_operator.kube.events import WARNING, post_events
from chaski_operator.kube.status import rfc3339, status_document
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import DEPLOYMENT
from chaski_operator.manifests.manifests import desired_objects
from chaski_operator.manifests.names import FINALIZER, MANAGER, PAUSED, RECONCILE_AT, ROUTE_LABEL
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.route import policy
from chaski_operator.route.aws_resources import AwsResources, ProvisionResult, remembered_route
from chaski_operator.route.conditions import conditions_for
from chaski_operator.route.deletion import delete_route, finalizer_patch, route_to_delete
from chaski_operator.route.events import events_for
from chaski_operator.route.observation import RouteObservation, draining_rows, drift_of, fenced_at, rolled_out
from chaski_operator.route.status import StatusInputs, is_current, status_of
from chaski_operator.settings import OperatorSettings
from chaski_operator.tracing import ReconcileResult, reconcile_span
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path
from chaski_runtime.observability.tracing import Tracing

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RouteState:
    """What a process remembers of a route between two reconciliations. Losing it costs one full reconciliation."""

    generation: int = 0
    requested_at: str = ""  # the annotation that requests a reconciliation
    provisioned: ProvisionResult | None = None
    provisioned_at: float = 0.0  # monotonic
    applied: bool = False  # the objects in the cluster are those of `provisioned`
    corrected: list[str] = field(default_factory=list)  # drift that was corrected since AWS was last read
    failures: int = 0


class Reconciler:
    """Reconciles routes; several of them concurrently."""

    def __init__(  # noqa: PLR0913 - the operator's parts
        self,
        *,
        api: KubeApi,
        aws: AwsResources,
        routes: RouteCache,
        objects: ObjectCache,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        clock: Clock,
        tracing: Tracing | None = None,
    ) -> None:
        self._api = api
        self._aws = aws
        self._routes = routes
        self._objects = objects
        self._applier = Applier(api, objects)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._tracing = tracing
        self._states: dict[Key, RouteState] = {}

    def invalidate(self, key: Key) -> None:
        """Invalidates the cached AWS state so that the next reconciliation reads it again."""
        if key in self._states:
            self._states[key].provisioned = None

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles a route; returns the seconds until the next time, None if the route is deleted."""
        document = self._routes.get(key)
        if document is None:
            self._states.pop(key, None)
            self._aws.forget("/".join(key))
            return None
        with reconcile_span(self._tracing, key) as outcome:
            return await self._reconcile(key, document, outcome)

    async def _reconcile(self, key: Key, document: dict[str, Any], outcome: ReconcileResult) -> float:
        started = self._clock.monotonic()
        state = self._states.setdefault(key, RouteState())
        if document["metadata"].get("deletionTimestamp"):
            return await self._delete(key, document, state, outcome)
        if (document["metadata"].get("annotations") or {}).get(PAUSED) == "disabled":
            return self._settings.intervals.resync_seconds
        document = await self._with_finalizer(key, document)
        observation = await self._with_pods(await self._apply(document, state))
        await self._report(key, document, observation)
        state.failures = state.failures + 1 if observation.failures else 0
        result = "invalid" if observation.route is None else "error" if observation.failures else "ok"
        outcome.result, outcome.failures = result, observation.failures
        duration = self._clock.monotonic() - started
        self._metrics.reconciled(namespace=key[0], route=key[1], result=result, duration_seconds=duration)
        return policy.next_reconcile(observation, state.failures, self._settings.intervals)

    # ---- observe and apply

    async def _apply(self, document: Mapping[str, Any], state: RouteState) -> RouteObservation:
        """Provisions queues and table, then applies the route's objects."""
        try:
            route = load_route(known_part(document))
        except InvalidRouteError as error:
            return RouteObservation(errors=error.errors)
        before = state.provisioned_at
        try:
            provisioned = await self._provisioned(route, document, state)
        except ProvisionError as error:
            return RouteObservation(route=route, aws_error=error, deployments=self._deployments(route))
        wanted, failure = await self._apply_objects(route, document, provisioned, state)
        return RouteObservation(
            route=route,
            provisioned=provisioned,
            is_fresh=state.provisioned_at != before,
            aws_error=provisioned.error,
            corrected=tuple(state.corrected),
            apply_error=failure,
            deployments=self._deployments(route),
            wanted_deployments=wanted,
        )

    async def _apply_objects(
        self, route: Route, document: Mapping[str, Any], provisioned: ProvisionResult, state: RouteState
    ) -> tuple[int, KubeApiError | ForeignObjectError | None]:
        """Returns the number of wanted Deployments, and the failure if there was one."""
        if provisioned.resolved is None:
            return 0, None
        owner = document["metadata"]["uid"]
        workers, tools = self._settings.workers, self._settings.tools
        sweep = is_sweeping(document.get("status") or {})
        objects = desired_objects(provisioned.resolved, owner, workers, tools, sweep=sweep)
        applied = Applied()
        failure: KubeApiError | ForeignObjectError | None = None
        try:
            applied = await self._applier.apply(objects)
            await self._applier.prune(route.namespace, route.name, owner, objects)
            state.applied = True
        except (KubeApiError, ForeignObjectError) as error:
            failure = error
        state.corrected += applied.corrected
        for corrected in applied.corrected:
            self._metrics.drift(namespace=route.namespace, route=route.name, kind=corrected.partition(" ")[0])
        return sum(each["kind"] == DEPLOYMENT.kind for each in objects), failure

    async def _provisioned(self, route: Route, document: Mapping[str, Any], state: RouteState) -> ProvisionResult:
        """The state on AWS: cached while it is recent and the route is unchanged, else ensured."""
        metadata = document["metadata"]
        requested = (metadata.get("annotations") or {}).get(RECONCILE_AT, "")
        now = self._clock.monotonic()
        if (state.generation, state.requested_at) != (metadata["generation"], requested):
            state.generation, state.requested_at = metadata["generation"], requested
            state.provisioned, state.applied = None, False
        last, intervals = state.provisioned, self._settings.intervals
        if last is not None and last.error is None:
            interval = intervals.busy_seconds if last.draining else intervals.resync_seconds
            if now - state.provisioned_at < interval * 0.8:
                return last
        remembered = remembered_route(route, document.get("status") or {})
        may_drop = state.applied and rolled_out(self._deployments(route))
        state.provisioned = None  # before the call: it may fail
        provisioned = await self._aws.ensure(route, remembered, self._clock.now_ms() / 1000, may_drop=may_drop)
        state.provisioned, state.provisioned_at, state.applied = provisioned, now, False
        state.corrected = []
        if policy.was_provisioned(document.get("status") or {}, metadata["generation"]):
            state.corrected = drift_of(provisioned)
            for _ in state.corrected:
                self._metrics.drift(namespace=route.namespace, route=route.name, kind="AWS")
        return provisioned

    def _deployments(self, route: Route) -> list[dict[str, Any]]:
        return [each for each in self._objects.of_route(route.namespace, route.name) if each["kind"] == DEPLOYMENT.kind]

    async def _with_pods(self, observation: RouteObservation) -> RouteObservation:
        """Adds the workers' Pods if some do not run; they have the reason."""
        route = observation.route
        if route is None or not policy.waits_for_pods(observation):
            return observation
        path = object_path("v1", "pods", route.namespace)
        try:
            pods = await self._api.get(path, labelSelector=f"{ROUTE_LABEL}={route.name}", limit="50")
        except KubeApiError as error:
            _log.warning("%s/%s: can't list the worker Pods: %s", route.namespace, route.name, error)
            return observation
        return replace(observation, pods=pods["items"])

    async def _with_finalizer(self, key: Key, document: dict[str, Any]) -> dict[str, Any]:
        """Adds the finalizer if the route's deletion is to delete resources on AWS, else removes it."""
        if policy.wants_finalizer(document) == policy.has_finalizer(document):
            return document
        others = [each for each in document["metadata"].get("finalizers") or () if each != FINALIZER]
        wanted = [*others, FINALIZER] if policy.wants_finalizer(document) else others
        patched = await self._api.json_patch(_path(key), finalizer_patch(document, wanted))
        self._routes.put(patched)
        return patched

    # ---- report

    async def _report(self, key: Key, document: dict[str, Any], observation: RouteObservation) -> None:
        """Writes the status if it differs, logs and posts the events."""
        known = document.get("status") or {}
        now = rfc3339(self._clock.now_ms() / 1000)
        status = status_of(_status_inputs(document, observation), known, now)
        events = events_for(known.get("conditions") or (), status["conditions"], observation)
        if not is_current(status, known):
            await self._write_status(key, status)
        for each in events:
            _log.log(logging.WARNING if each.type == WARNING else logging.INFO, "%s/%s: %s", *key, each.message)
        identity = self._settings.lease.identity
        await post_events(self._api, document["metadata"], events, now=now, identity=identity)

    async def _write_status(self, key: Key, status: dict[str, Any]) -> None:
        try:
            path = object_path(GROUP_VERSION, "chaskiroutes", *key, "status")
            self._routes.put(await self._api.apply(path, status_document(*key, status), manager=MANAGER))
        except KubeRefusedError as error:
            if error.status != 404:  # the route was deleted meanwhile
                raise

    async def _delete(self, key: Key, document: dict[str, Any], state: RouteState, outcome: ReconcileResult) -> float:
        """Deletes the route's resources as its deletionPolicy says, then removes the finalizer."""
        try:
            await delete_route(self._api, self._aws, self._objects, document)
        except (ProvisionError, KubeApiError) as error:
            state.failures += 1
            outcome.result, outcome.failures = "error", [error]
            route = route_to_delete(document)
            observation = RouteObservation(
                route=route,
                aws_error=error if isinstance(error, ProvisionError) else None,
                apply_error=error if isinstance(error, KubeApiError) else None,
                deployments=self._deployments(route),
            )
            await self._report(key, document, observation)
            return policy.next_reconcile(observation, state.failures, self._settings.intervals)
        return self._settings.intervals.resync_seconds


def _status_inputs(document: Mapping[str, Any], observation: RouteObservation) -> StatusInputs:
    provisioned = observation.provisioned
    resolved = provisioned.resolved if provisioned is not None else None
    fenced: dict[int, str] = {}
    draining: dict[str, str] = {}
    if provisioned is not None and resolved is not None:
        fenced = fenced_at(provisioned.observed, [each.number for each in resolved.generations[:-1]])
        draining = draining_rows(provisioned.draining)
    replicas = sum(int((each.get("status") or {}).get("replicas", 0)) for each in observation.deployments)
    return StatusInputs(
        generation=document["metadata"]["generation"],
        conditions=conditions_for(observation),
        resolved=resolved,
        fenced_at=fenced,
        draining=draining,
        replicas=replicas,
    )


def _path(key: Key) -> str:
    return object_path(GROUP_VERSION, "chaskiroutes", *key)
