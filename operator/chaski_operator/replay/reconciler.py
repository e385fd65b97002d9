"""Reconciles ChaskiReplays: one Job for each, its progress in the status.

If the CRD is missing, or the operator lacks the rights for it, routes are reconciled all the same. What a replay has sent is
recorded in the dead letters, never here.
"""

import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from chaski_core.ports import Clock
from chaski_operator.installation import Installation
from chaski_operator.kube.cache import ObjectCache
from chaski_operator.kube.workqueue import Key
from chaski_operator.manifests.kinds import REPLAY, ROUTE, Object
from chaski_operator.manifests.names import MANAGER, replay_job_name
from chaski_operator.pods.metrics_client import pod_session, read_limited
from chaski_operator.replay.job import replay_job
from chaski_operator.replay.policy import Action, Decision, ReplayObservation, decide, is_finished
from chaski_operator.replay.reports import progress_url
from chaski_operator.settings import OperatorSettings
from chaski_replay.report import ReplayReport
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path

_log = logging.getLogger(__name__)
_PROGRESS_TIMEOUT_SECONDS = 3.0
_MAX_REPORT_BYTES = 65_536
_MAX_PODS = "50"


class ReplayReconciler:
    """All ChaskiReplays of the served namespaces."""

    def __init__(
        self, api: KubeApi, cache: ObjectCache, installation: Installation, settings: OperatorSettings, clock: Clock
    ) -> None:
        self._api = api
        self._cache = cache
        self._installation = installation
        self._settings = settings
        self._clock = clock
        self._session = pod_session(_PROGRESS_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Closes the connections to Pods."""
        await self._session.close()

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles a replay; returns the seconds until the next time, None if only a change requires one."""
        replay = self._cache.get(REPLAY, *key)
        if replay is None or replay["metadata"].get("deletionTimestamp"):
            return None  # the garbage collector deletes its Job
        route = self._cache.get(ROUTE, key[0], replay["spec"]["routeRef"]["name"])
        if route is not None and self._installation.leaves(route):
            return self._settings.intervals.resync_seconds
        seen = await self._observe(replay)
        decision = decide(seen, self._settings.intervals.replay_seconds)
        if decision.action is not None and not await self._act(seen, decision.action):
            return self._settings.intervals.retry_seconds
        await self._report(key, replay, decision)
        return decision.next_reconcile

    # ---- observe

    async def _observe(self, replay: Object) -> ReplayObservation:
        metadata = replay["metadata"]
        namespace, name = metadata["namespace"], replay_job_name(metadata["name"], metadata["uid"])
        job: Object | None = None
        pods: list[Object] = []
        progress: ReplayReport | None = None
        if not is_finished(replay.get("status") or {}):
            job = await self._api.find(object_path("batch/v1", "jobs", namespace, name))
        if job is not None:
            path, selector = object_path("v1", "pods", namespace), f"batch.kubernetes.io/job-name={name}"
            listed = (await self._api.get(path, labelSelector=selector, limit=_MAX_PODS))["items"]
            pods = [each for each in listed if _is_owned(each, job)]
            progress = await self._progress(progress_url(pods))
        return ReplayObservation(
            replay=replay,
            route=self._cache.get(ROUTE, namespace, replay["spec"]["routeRef"]["name"]),
            job=job,
            pods=pods,
            progress=progress,
            has_tools=self._settings.tools is not None,
            now=self._clock.now_ms() / 1000,
        )

    async def _progress(self, url: str | None) -> ReplayReport | None:
        """The running Pod's report; None if the Pod is unreachable: then its final report has to do."""
        if url is None:
            return None
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = await read_limited(response, _MAX_REPORT_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return None if body is None else ReplayReport.parse(body)

    # ---- apply

    async def _act(self, seen: ReplayObservation, action: Action) -> bool:
        """Performs an action; False if the observation is outdated."""
        metadata = seen.replay["metadata"]
        path = object_path(REPLAY.api_version, REPLAY.plural, metadata["namespace"], metadata["name"])
        if action is Action.DELETE_REPLAY:
            await self._api.delete(path, uid=metadata["uid"])
        elif action is Action.CREATE_JOB:
            return await self._create_job(seen, path)
        elif seen.job is not None:
            job = object_path("batch/v1", "jobs", metadata["namespace"], seen.job["metadata"]["name"])
            await self._api.merge_patch(job, {"spec": {"suspend": action is Action.SUSPEND_JOB}})
        return True

    async def _create_job(self, seen: ReplayObservation, path: str) -> bool:
        tools = self._settings.tools
        live = await self._api.find(path)  # the watch may lag behind, and a finished replay must never run again
        if tools is None or seen.route is None or live is None or _uid(live) != _uid(seen.replay):
            return False
        if is_finished(live.get("status") or {}) or live["metadata"].get("deletionTimestamp"):
            return False
        job = replay_job(seen.replay, seen.route, tools)
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            await self._api.create(object_path("batch/v1", "jobs", namespace), job)
        except KubeRefusedError as error:
            if error.status != 409:
                raise
            return False  # it exists: the next reconciliation continues with it
        _log.info("%s/%s: created Job %s", namespace, live["metadata"]["name"], name)
        return True

    async def _report(self, key: Key, replay: Object, decision: Decision) -> None:
        status, known = decision.status, replay.get("status") or {}
        if status is None or status == known:
            return
        body = {
            "apiVersion": REPLAY.api_version,
            "kind": REPLAY.kind,
            "metadata": {"namespace": key[0], "name": key[1], "uid": _uid(replay)},
            "status": status,
        }
        try:
            path = object_path(REPLAY.api_version, REPLAY.plural, *key, "status")
            self._cache.put(REPLAY, await self._api.apply(path, body, manager=MANAGER))
        except KubeRefusedError as error:
            if error.status not in (404, 409):  # it was deleted, or replaced by another of the same name
                raise
            return
        if (status["phase"], status["message"]) != (known.get("phase"), known.get("message")):
            _log.info("%s/%s: %s: %s", *key, status["phase"], status["message"])


def _is_owned(pod: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Whether the Job owns the Pod: anyone can set its label."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and each["uid"] == _uid(job) for each in owners)


def _uid(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["uid"])
