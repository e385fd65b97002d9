"""Reconciles one route: observe, plan, apply, report. The same for a new route, a changed one and one that exists already.

From a spec to its status, with the types that carry it:

1. `kube.informers.Informer` puts the document (JSON) of the ChaskiRoute into the `ObjectCache` and enqueues its key.
2. `WorkQueue` calls `Reconciler.reconcile` with the key.
3. observe: `RouteLoader` returns the `Route`; `AwsResources.ensure` returns a `ProvisionResult` with the `ResolvedRoute`.
   Both are in a `RouteObservation`.
4. plan: `desired_objects` returns the objects (JSON) of the `ResolvedRoute`.
5. apply: `Applier` writes those that differ; the `RouteObservation` gets the result, the Deployments, and Pods that fail.
6. report: `conditions_for` returns `Condition`s of the observation, `status_of` the status (JSON), `events_for` `Event`s.

Before all that, `Installation.claim` decides whether this installation serves the route; otherwise nothing is done.

A process that is killed anywhere leaves a state from which the next reconciliation continues: the finalizer is set before
anything is created on AWS, queues before the objects that use them, and the state is read from AWS's tags and the
cluster, not from memory.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from chaski_aws.provision.errors import ProvisionError
from chaski_core.errors import ChaskiError, InvalidRouteError
from chaski_core.ports import Clock
from chaski_operator.expiry.status import is_sweeping
from chaski_operator.installation import GRACE_SECONDS, Claim, Installation
from chaski_operator.kube.apply import Applied, Applier, ForeignObjectError
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.kube.events import WARNING, post_events
from chaski_operator.kube.status import rfc3339, status_document
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import DEPLOYMENT, ROUTE, Object
from chaski_operator.manifests.manifests import desired_objects, oversize
from chaski_operator.manifests.names import FINALIZER, MANAGER, ROUTE_LABEL
from chaski_operator.metrics import OperatorMetrics
from chaski_operator.policies.hold import POLICY_DENIED, verdict_of
from chaski_operator.policies.watch import ClusterPolicies
from chaski_operator.route import policy
from chaski_operator.route.aws_resources import AwsResources
from chaski_operator.route.deletion import delete_route, finalizer_patch, route_to_delete
from chaski_operator.route.events import events_for
from chaski_operator.route.loader import RouteLoader
from chaski_operator.route.observation import RouteObservation, judged_route, rolled_out
from chaski_operator.route.status import is_current, status_of
from chaski_operator.settings import OperatorSettings
from chaski_operator.tracing import reconcile_span
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path
from chaski_runtime.observability.tracing import Tracing

_log = logging.getLogger(__name__)


class _RouteChangedError(ChaskiError):
    """The route was deleted or changed since it was observed; nothing was made for it."""


@dataclass(slots=True)
class _Progress:
    """What a process remembers of a route between two reconciliations. Losing it delays the deletion of drained queues."""

    uid: str  # of the route
    applied: int = 0  # generation of the spec whose objects, with the queues as last read, are in the cluster
    corrected: list[str] = field(default_factory=list)  # drift that was corrected since AWS was last read
    failures: int = 0  # consecutive


class Reconciler:
    """Reconciles routes; several of them concurrently."""

    def __init__(  # noqa: PLR0913 - the operator's parts
        self,
        *,
        api: KubeApi,
        aws: AwsResources,
        cache: ObjectCache,
        loader: RouteLoader,
        installation: Installation,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        clock: Clock,
        policies: ClusterPolicies,
        tracing: Tracing | None = None,
    ) -> None:
        self._api = api
        self._aws = aws
        self._cache = cache
        self._loader = loader
        self._installation = installation
        self._applier = Applier(api, cache, remove_additions=settings.remove_additions)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._policies = policies
        self._tracing = tracing
        self._progress: dict[Key, _Progress] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles a route; returns the seconds until the next time, None if the route is deleted."""
        document = self._cache.get(ROUTE, *key)
        if document is None:
            self._forget(key)
            self._installation.forget(key)
            return None
        if key in self._progress and self._progress[key].uid != document["metadata"]["uid"]:
            self._forget(key)  # it was made again
        is_deleted = bool(document["metadata"].get("deletionTimestamp"))
        if policy.is_paused(document) and not is_deleted and not self._is_denied(document):
            return self._settings.intervals.resync_seconds
        claim, document = await self._installation.claim(document, self._owners)
        if claim is Claim.WAIT:
            return GRACE_SECONDS / 2
        if claim is Claim.ANOTHERS:
            self._forget(key)
            return self._settings.intervals.resync_seconds
        progress = self._progress.setdefault(key, _Progress(document["metadata"]["uid"]))
        with reconcile_span(self._tracing, key) as finish:
            started = self._clock.monotonic()
            try:
                if is_deleted:
                    observation = await self._delete(key, document)
                else:
                    observation = await self._reconcile(key, document, progress)
            except _RouteChangedError as error:
                _log.info("%s/%s: %s; starting again", *key, error)
                return self._settings.intervals.retry_seconds
            seconds = self._clock.monotonic() - started
            finish(observation.result, observation.failures)
        progress.failures = progress.failures + 1 if observation.failures else 0
        if not is_deleted:
            result = observation.result
            self._metrics.reconciled(namespace=key[0], route=key[1], result=result, duration_seconds=seconds)
        return policy.next_reconcile(observation, progress.failures, self._settings.intervals)

    async def _owners(self, document: Object) -> frozenset[str]:
        """The installations whose tags a route's queues and table carry; raises ProvisionError."""
        return await self._aws.owners(route_to_delete(document))

    def _forget(self, key: Key) -> None:
        """Drops all that is remembered of a route."""
        self._progress.pop(key, None)
        self._loader.forget(key)
        self._applier.forget(key)
        self._aws.forget("/".join(key))
        self._metrics.forget_route(*key)
        self._policies.forget(key)

    def _is_denied(self, document: Object) -> bool:
        """Whether policies deny the route; its author can't escape them by pausing it."""
        try:
            return bool(self._policies.judge(self._loader.load(document)))
        except InvalidRouteError:
            return False

    async def _reconcile(self, key: Key, document: Object, progress: _Progress) -> RouteObservation:
        document = await self._with_finalizer(key, document)
        observation = await self._observe(key, document, progress)
        if observation.undecided and (verdict_of(document) == POLICY_DENIED or self._policies.awaits(key[0])):
            return observation
        desired = self._plan(document, observation)
        if (error := oversize(desired)) is not None:
            observation, desired = RouteObservation(errors=(error,)), []
        observation = await self._apply(key, document, progress, observation, desired)
        await self._report(key, document, observation)
        return observation

    async def _delete(self, key: Key, document: Object) -> RouteObservation:
        """Deletes the route's resources as its deletionPolicy says, then removes the finalizer."""
        route = route_to_delete(document)
        try:
            await delete_route(self._api, self._aws, self._cache, document)
        except (ProvisionError, KubeApiError) as error:
            observation = RouteObservation(
                route=route,
                aws_error=error if isinstance(error, ProvisionError) else None,
                apply_error=error if isinstance(error, KubeApiError) else None,
                deployments=self._cache.of_route(DEPLOYMENT, *key),
            )
            try:
                await self._report(key, document, observation)
            except KubeRefusedError as refused:
                if refused.status != 403:
                    raise
                _log.warning("%s/%s: not deleted yet: %s; its status can't be written: %s", *key, error, refused)
            return observation
        return RouteObservation(route=route)

    async def _confirm(self, key: Key, document: Object) -> None:
        """Reads the route again before anything is made for it, since a watch may lag behind by any time.

        Raises:
            _RouteChangedError: it was deleted, or its spec has changed.
            KubeApiError: it can't be read.
        """
        live = await self._api.find(_path(key))
        if live is None or live["metadata"]["uid"] != document["metadata"]["uid"]:
            self._cache.remove(ROUTE, document)
        if live is not None:
            self._cache.put(ROUTE, live)
        if live is None or policy.identity_of(live) != policy.identity_of(document):
            raise _RouteChangedError("it was deleted" if live is None else "it has changed")

    async def _with_finalizer(self, key: Key, document: Object) -> Object:
        """Adds the finalizer if the route's deletion is to delete resources on AWS, else removes it."""
        if policy.wants_finalizer(document) == policy.has_finalizer(document):
            return document
        others = [each for each in document["metadata"].get("finalizers") or () if each != FINALIZER]
        wanted = [*others, FINALIZER] if policy.wants_finalizer(document) else others
        patched = await self._api.json_patch(_path(key), finalizer_patch(document, wanted))
        self._cache.put(ROUTE, patched)
        return patched

    # ---- observe

    async def _observe(self, key: Key, document: Object, progress: _Progress) -> RouteObservation:
        """Validates the spec, and reads the queues and the table, which the same call brings into the desired state."""
        try:
            route = self._loader.load(document)
        except InvalidRouteError as error:
            return RouteObservation(errors=error.errors)
        if (judged := judged_route(route, document, self._policies.judge(route))) is not None:
            return judged
        applied = progress.applied == document["metadata"]["generation"]
        may_drop = applied and rolled_out(self._cache.of_route(DEPLOYMENT, *key))
        try:
            confirm = partial(self._confirm, key, document)
            provisioned = await self._aws.ensure(route, document, may_drop=may_drop, confirm=confirm)
        except ProvisionError as error:
            return RouteObservation(route=route, aws_error=error)
        if provisioned.is_fresh:
            progress.applied = 0  # until the objects are those of this result
            progress.corrected = provisioned.drift() if policy.was_provisioned(document) else []
            for _ in progress.corrected:
                self._metrics.drift(namespace=key[0], route=key[1], kind="AWS")
        return RouteObservation(route=route, provisioned=provisioned, aws_error=provisioned.error)

    # ---- plan

    def _plan(self, document: Object, observation: RouteObservation) -> list[Object]:
        """The desired objects in the cluster; none while a queue is missing."""
        resolved = observation.held or observation.resolved
        if resolved is None:
            return []
        owner, sweep = document["metadata"]["uid"], is_sweeping(document.get("status") or {})
        workers, tools = self._settings.workers, self._settings.tools
        return desired_objects(resolved, owner, workers, tools, sweep=sweep)

    # ---- apply

    async def _apply(
        self,
        key: Key,
        document: Object,
        progress: _Progress,
        observation: RouteObservation,
        desired: Sequence[Object],
    ) -> RouteObservation:
        """Applies the desired objects and deletes others; adds the state of the cluster to the observation."""
        failure: KubeApiError | ForeignObjectError | None = None
        applied = Applied()
        if desired:
            try:
                applied = await self._applier.apply(desired, partial(self._confirm, key, document))
                await self._applier.prune(*key, document["metadata"]["uid"], desired)
            except (KubeApiError, ForeignObjectError) as error:
                failure = error
            else:
                progress.applied = 0 if observation.held else document["metadata"]["generation"]
                progress.corrected += applied.corrected
                for each in applied.corrected:
                    self._metrics.drift(namespace=key[0], route=key[1], kind=each.partition(" ")[0])
        observation = replace(
            observation,
            corrected=() if observation.provisioned is None else tuple(progress.corrected),
            added=tuple(applied.added),
            apply_error=failure,
            deployments=self._cache.of_route(DEPLOYMENT, *key),
            wanted_deployments=sum(each["kind"] == DEPLOYMENT.kind for each in desired),
        )
        return (
            replace(observation, pods=await self._failing_pods(key)) if policy.needs_pods(observation) else observation
        )

    async def _failing_pods(self, key: Key) -> list[Object]:
        """The worker Pods as a whole: the cache has only what the autoscaler needs of them."""
        try:
            path = object_path("v1", "pods", key[0])
            pods: list[Object] = (await self._api.get(path, labelSelector=f"{ROUTE_LABEL}={key[1]}", limit="50"))[
                "items"
            ]
        except KubeApiError as error:
            _log.warning("%s/%s: can't list the worker Pods: %s", *key, error)
            return []
        return pods

    # ---- report

    async def _report(self, key: Key, document: Object, observation: RouteObservation) -> None:
        """Writes the status if it differs, logs and posts the events."""
        known: dict[str, Any] = document.get("status") or {}
        now = rfc3339(self._clock.now_ms() / 1000)
        required = self._settings.producers_required
        status = status_of(observation, document["metadata"]["generation"], known, now, producers_required=required)
        events = events_for(known.get("conditions") or (), status["conditions"], observation)
        if not is_current(status, known):
            await self._write_status(key, document["metadata"]["uid"], status)
        for each in events:
            _log.log(logging.WARNING if each.type == WARNING else logging.INFO, "%s/%s: %s", *key, each.message)
        identity = self._settings.lease.identity
        await post_events(self._api, document["metadata"], events, now=now, identity=identity)

    async def _write_status(self, key: Key, uid: str, status: dict[str, Any]) -> None:
        body = status_document(*key, status)
        body["metadata"]["uid"] = uid  # not that of another route of the same name
        try:
            self._cache.put(ROUTE, await self._api.apply(f"{_path(key)}/status", body, manager=MANAGER))
        except KubeRefusedError as error:
            if error.status not in (404, 409):  # the route was deleted meanwhile, or replaced
                raise


def _path(key: Key) -> str:
    return object_path(ROUTE.api_version, ROUTE.plural, *key)
