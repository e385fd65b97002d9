"""One look at one route: gather, decide, apply. The same for a new route, a changed one and one that was there before.

A process that is killed anywhere leaves what the next look goes on from: the finalizer comes before anything on AWS,
queues before the objects that use them, and what is there is read from AWS's tags and the cluster, never remembered.
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
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.validation.crd import GROUP_VERSION, known_part
from chaski_operator.expiry.status import is_sweeping
from chaski_operator.kube.apply import Applied, Applier, ForeignObjectError
from chaski_operator.kube.cache import OwnedObjects
from chaski_operator.kube.event_posting import WARNING, post
from chaski_operator.kube.events import news_of
from chaski_operator.kube.route_cache import Routes
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.manifests import DEPLOYMENT, desired_objects
from chaski_operator.manifests.names import FINALIZER, MANAGER, PAUSED, RECONCILE_AT, ROUTE_LABEL
from chaski_operator.route import policy
from chaski_operator.route.aws_resources import AwsResources, ProvisionResult, remembered_route
from chaski_operator.route.conditions import rolled_out
from chaski_operator.route.deletion import delete_route, finalizer_patch, route_to_delete
from chaski_operator.route.policy import RouteObservation
from chaski_operator.route.status import Findings, is_current, status_document, status_of
from chaski_operator.settings import OperatorSettings
from chaski_operator.tracing import ReconcileResult, look_span
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path
from chaski_runtime.observability.metrics.operator_metrics import OperatorMetrics
from chaski_runtime.observability.tracing import Tracing

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RouteState:
    """What one process remembers of a route between two looks; losing it costs one full look."""

    generation: int = 0
    asked_at: str = ""  # the annotation that asks for a look
    settled: ProvisionResult | None = None
    settled_at: float = 0.0  # monotonic
    applied: bool = False  # the objects are those of `settled`
    corrected: list[str] = field(default_factory=list)  # what was other than it should be since AWS was looked at
    failures: int = 0


class Reconciler:
    """Looks at routes, one call for each look; several routes may be looked at side by side."""

    def __init__(  # noqa: PLR0913 - the parts of the operator, each given by its maker
        self,
        *,
        api: KubeApi,
        cloud: AwsResources,
        routes: Routes,
        owned: OwnedObjects,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        clock: Clock,
        tracing: Tracing | None = None,
    ) -> None:
        self._api = api
        self._cloud = cloud
        self._routes = routes
        self._owned = owned
        self._applier = Applier(api, owned)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._tracing = tracing
        self._memories: dict[Key, RouteState] = {}

    def doubt(self, key: Key) -> None:
        """Something on AWS is not as it was: the next look goes there, however recent the last one is."""
        if key in self._memories:
            self._memories[key].settled = None

    async def look(self, key: Key) -> float | None:
        """Looks at a route; seconds until the next look, None where the route is gone."""
        document = self._routes.get(key)
        if document is None:
            self._memories.pop(key, None)
            self._cloud.forget("/".join(key))
            return None
        with look_span(self._tracing, key) as looked:
            return await self._look(key, document, looked)

    async def _look(self, key: Key, document: dict[str, Any], looked: ReconcileResult) -> float:
        begun = self._clock.monotonic()
        memory = self._memories.setdefault(key, RouteState())
        if document["metadata"].get("deletionTimestamp"):
            return await self._delete(key, document, memory, looked)
        if (document["metadata"].get("annotations") or {}).get(PAUSED) == "disabled":
            return self._settings.pace.resync_seconds
        document = await self._with_finalizer(key, document)
        found = await self._with_pods(await self._find(document, memory))
        await self._report(key, document, found)
        memory.failures = memory.failures + 1 if found.failures else 0
        result = "invalid" if found.route is None else "error" if found.failures else "ok"
        looked.result, looked.failures = result, found.failures
        taken = self._clock.monotonic() - begun
        self._metrics.reconciled(namespace=key[0], route=key[1], result=result, duration_seconds=taken)
        return policy.next_look(found, memory.failures, self._settings.pace)

    # ---- gather and apply

    async def _find(self, document: Mapping[str, Any], memory: RouteState) -> RouteObservation:
        try:
            route = load_route(known_part(document))
        except InvalidRouteError as error:
            return RouteObservation(faults=error.faults)
        before = memory.settled_at
        try:
            settled = await self._settled(route, document, memory)
        except ProvisionError as error:
            return RouteObservation(route=route, cloud_error=error, deployments=self._deployments(route))
        applied = Applied()
        refusal: KubeApiError | ForeignObjectError | None = None
        jobs = 0
        if settled.resolved is not None:
            owner = document["metadata"]["uid"]
            workers, tools = self._settings.workers, self._settings.tools
            sweep = is_sweeping(document.get("status") or {})
            objects = desired_objects(settled.resolved, owner, workers, tools, sweep=sweep)
            jobs = sum(each["kind"] == DEPLOYMENT.kind for each in objects)
            try:
                applied = await self._applier.apply(objects)
                await self._applier.prune(route.namespace, route.name, owner, objects)
                memory.applied = True
            except (KubeApiError, ForeignObjectError) as error:
                refusal = error
        memory.corrected += applied.corrected
        for told in applied.corrected:
            self._metrics.drift(namespace=route.namespace, route=route.name, kind=told.partition(" ")[0])
        return RouteObservation(
            route=route,
            settled=settled,
            is_fresh=memory.settled_at != before,
            cloud_error=settled.error,
            corrected=tuple(memory.corrected),
            apply_error=refusal,
            deployments=self._deployments(route),
            wanted_deployments=jobs,
        )

    async def _settled(self, route: Route, document: Mapping[str, Any], memory: RouteState) -> ProvisionResult:
        """What is on AWS: looked at, unless that was done a moment ago and nothing has changed since."""
        metadata = document["metadata"]
        asked = (metadata.get("annotations") or {}).get(RECONCILE_AT, "")
        now = self._clock.monotonic()
        if (memory.generation, memory.asked_at) != (metadata["generation"], asked):
            memory.generation, memory.asked_at, memory.settled, memory.applied = (
                metadata["generation"],
                asked,
                None,
                False,
            )
        last, pace = memory.settled, self._settings.pace
        if last is not None and last.error is None:
            rest = pace.busy_seconds if last.draining else pace.resync_seconds
            if now - memory.settled_at < rest * 0.8:
                return last
        remembered = remembered_route(route, document.get("status") or {})
        may_drop = memory.applied and rolled_out(self._deployments(route))
        memory.settled = None
        settled = await self._cloud.settle(route, remembered, self._clock.now_ms() / 1000, may_drop=may_drop)
        memory.settled, memory.settled_at, memory.applied = settled, now, False
        memory.corrected = []
        if policy.is_whole(document.get("status") or {}, metadata["generation"]):
            memory.corrected = policy.drift_of(settled)
            for _ in memory.corrected:
                self._metrics.drift(namespace=route.namespace, route=route.name, kind="AWS")
        return settled

    def _deployments(self, route: Route) -> list[dict[str, Any]]:
        return [each for each in self._owned.of_route(route.namespace, route.name) if each["kind"] == DEPLOYMENT.kind]

    async def _with_pods(self, found: RouteObservation) -> RouteObservation:
        """With the Pods of workers that do not run, which say why; nothing is asked as long as all of them run."""
        if found.route is None or not policy.waits_for_pods(found):
            return found
        path = object_path("v1", "pods", found.route.namespace)
        try:
            pods = await self._api.get(path, labelSelector=f"{ROUTE_LABEL}={found.route.name}", limit="50")
        except KubeApiError as error:
            _log.warning("the Pods of %s/%s can't be looked at: %s", found.route.namespace, found.route.name, error)
            return found
        return replace(found, pods=pods["items"])

    async def _with_finalizer(self, key: Key, document: dict[str, Any]) -> dict[str, Any]:
        """The route with our finalizer where its deletion is to delete something on AWS, and without it elsewhere."""
        if policy.wants_finalizer(document) == policy.has_finalizer(document):
            return document
        known = list(document["metadata"].get("finalizers") or ())
        wanted = (
            [*known, FINALIZER] if policy.wants_finalizer(document) else [each for each in known if each != FINALIZER]
        )
        patched = await self._api.json_patch(_path(key), finalizer_patch(document, wanted))
        self._routes.put(patched)
        return patched

    # ---- say what was found

    async def _report(self, key: Key, document: dict[str, Any], found: RouteObservation) -> None:
        known = document.get("status") or {}
        now = policy.rfc3339(self._clock.now_ms() / 1000)
        status = status_of(self._findings(document, found), known, now)
        news = news_of(known.get("conditions") or (), status["conditions"], found)
        if not is_current(status, known):
            await self._write_status(key, status)
        for each in news:
            _log.log(logging.WARNING if each.type == WARNING else logging.INFO, "%s/%s: %s", *key, each.message)
        await post(self._api, document["metadata"], news, now=now, identity=self._settings.lease.identity)

    def _findings(self, document: Mapping[str, Any], found: RouteObservation) -> Findings:
        settled = found.settled
        resolved: ResolvedRoute | None = settled.resolved if settled is not None else None
        fenced: dict[int, str] = {}
        draining: dict[str, str] = {}
        if settled is not None and resolved is not None:
            fenced = policy.fenced_at(settled.observed, [each.number for each in resolved.generations[:-1]])
            draining = policy.draining_rows(settled.draining)
        replicas = sum(int((each.get("status") or {}).get("replicas", 0)) for each in found.deployments)
        return Findings(
            generation=document["metadata"]["generation"],
            verdicts=policy.verdicts(found),
            resolved=resolved,
            fenced_at=fenced,
            draining=draining,
            replicas=replicas,
        )

    async def _write_status(self, key: Key, status: dict[str, Any]) -> None:
        try:
            path = object_path(GROUP_VERSION, "chaskiroutes", *key, "status")
            self._routes.put(await self._api.apply(path, status_document(*key, status), manager=MANAGER))
        except KubeRefusedError as error:
            if error.status != 404:  # it was deleted meanwhile
                raise

    async def _delete(self, key: Key, document: dict[str, Any], memory: RouteState, looked: ReconcileResult) -> float:
        """Deletes what is to be deleted, then lets the route go."""
        try:
            await delete_route(self._api, self._cloud, self._owned, document)
        except (ProvisionError, KubeApiError) as error:
            memory.failures += 1
            looked.result, looked.failures = "error", [error]
            route = route_to_delete(document)
            found = RouteObservation(
                route=route,
                cloud_error=error if isinstance(error, ProvisionError) else None,
                apply_error=error if isinstance(error, KubeApiError) else None,
                deployments=self._deployments(route),
            )
            await self._report(key, document, found)
            return policy.next_look(found, memory.failures, self._settings.pace)
        return self._settings.pace.resync_seconds


def _path(key: Key) -> str:
    return object_path(GROUP_VERSION, "chaskiroutes", *key)
