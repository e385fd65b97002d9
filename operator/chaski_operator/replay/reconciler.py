"""Runs ChaskiReplays: one Job for each, its progress in the status. Gather, decide, apply, as for routes.

Beside the watches of routes, and without their framework: a cluster without this definition, or an operator without the
rights for it, works on routes as ever. What a replay has sent is never remembered here; it stands in the dead letters.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from chaski_core.ports import Clock
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_operator.kube.route_cache import Routes
from chaski_operator.kube.workqueue import Key, WorkQueue
from chaski_operator.manifests.names import MANAGER, replay_job_name
from chaski_operator.pods.address import read_answer
from chaski_operator.replay.job import KIND, replay_job
from chaski_operator.replay.policy import Act, Decision, ReplayObservation, decide, is_finished
from chaski_operator.replay.reports import Report, progress_url, read_report
from chaski_operator.settings import OperatorSettings
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path
from chaski_runtime.kube.informer import Informer

_log = logging.getLogger(__name__)
_PLURAL = "chaskireplays"
_ASK_SECONDS = 3.0
_MAX_REPORT_BYTES = 65_536
_MAX_PODS = "50"

Object = dict[str, Any]


class Replays:
    """All ChaskiReplays of the served namespaces. Call `run` once for each time that the Lease is held."""

    def __init__(self, api: KubeApi, routes: Routes, settings: OperatorSettings, clock: Clock) -> None:
        self._api = api
        self._routes = routes
        self._settings = settings
        self._clock = clock
        self._mirrors: list[Informer[Object]] = []
        self._written: dict[Key, Object] = {}  # our own writes, until a watch tells of them
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Works until cancelled."""
        rounds = WorkQueue(self.look, self._settings.pace, random.random)

        def changed(key: Key, _: Object | None) -> None:
            rounds.wake(key)

        self._mirrors = [
            Informer(
                self._api,
                object_path(GROUP_VERSION, _PLURAL, namespace),
                _kept,
                self._clock,
                random.random,
                on_change=changed,
            )
            for namespace in self._settings.namespaces or (None,)
        ]
        async with AsyncExitStack() as stack:
            timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
            )
            stack.push_async_callback(rounds.stop)
            async with asyncio.TaskGroup() as tasks:
                for mirror in self._mirrors:
                    tasks.create_task(mirror.run())

    async def look(self, key: Key) -> float | None:
        """Looks at a replay; seconds until the next look, None where only a change calls for one."""
        replay = self._get(key)
        if replay is None or replay["metadata"].get("deletionTimestamp"):
            self._written.pop(key, None)
            return None  # its Job is the garbage collector's
        seen = await self._gather(replay)
        decision = decide(seen, self._settings.pace.replay_seconds)
        if decision.act is not None and not await self._act(seen, decision.act):
            return self._settings.pace.retry_seconds
        await self._report(key, replay, decision)
        return decision.next_look

    # ---- gather

    def _get(self, key: Key) -> Object | None:
        found = next((mirror.items[key] for mirror in self._mirrors if key in mirror.items), None)
        written = self._written.get(key)
        if found is None or written is None or _uid(found) != _uid(written) or _version(found) >= _version(written):
            self._written.pop(key, None)
            return found
        return written

    async def _gather(self, replay: Object) -> ReplayObservation:
        metadata = replay["metadata"]
        namespace, name = metadata["namespace"], replay_job_name(metadata["name"], metadata["uid"])
        job: Object | None = None
        pods: list[Object] = []
        progress: Report | None = None
        if not is_finished(replay.get("status") or {}):
            job = await self._api.find(object_path("batch/v1", "jobs", namespace, name))
        if job is not None:
            path, selector = object_path("v1", "pods", namespace), f"batch.kubernetes.io/job-name={name}"
            listed = (await self._api.get(path, labelSelector=selector, limit=_MAX_PODS))["items"]
            pods = [each for each in listed if _belongs(each, job)]
            progress = await self._ask(progress_url(pods))
        return ReplayObservation(
            replay=replay,
            route=self._routes.get((namespace, replay["spec"]["routeRef"]["name"])),
            job=job,
            pods=pods,
            progress=progress,
            has_tools=self._settings.tools is not None,
            now=self._clock.now_ms() / 1000,
        )

    async def _ask(self, url: str | None) -> Report | None:
        """What the Pod says; one that is out of reach says at its end what it did."""
        if url is None or self._session is None:
            return None
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                told = await read_answer(response, _MAX_REPORT_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return None if told is None else read_report(told)

    # ---- apply

    async def _act(self, seen: ReplayObservation, act: Act) -> bool:
        """Does it; False where what was seen is no longer so."""
        metadata = seen.replay["metadata"]
        path = object_path(GROUP_VERSION, _PLURAL, metadata["namespace"], metadata["name"])
        if act is Act.DELETE_REPLAY:
            await self._api.delete(path, uid=metadata["uid"])
        elif act is Act.CREATE_JOB:
            return await self._create_job(seen, path)
        elif seen.job is not None:
            job = object_path("batch/v1", "jobs", metadata["namespace"], seen.job["metadata"]["name"])
            await self._api.merge_patch(job, {"spec": {"suspend": act is Act.SUSPEND_JOB}})
        return True

    async def _create_job(self, seen: ReplayObservation, path: str) -> bool:
        tools = self._settings.tools
        live = await self._api.find(path)  # a replay that ended is never run again, whatever a watch has not told yet
        if tools is None or seen.route is None or live is None or _uid(live) != _uid(seen.replay):
            return False
        if is_finished(live.get("status") or {}) or live["metadata"].get("deletionTimestamp"):
            return False
        job = replay_job(seen.replay, seen.route, tools)
        try:
            await self._api.create(object_path("batch/v1", "jobs", job["metadata"]["namespace"]), job)
        except KubeRefusedError as error:
            if error.status != 409:
                raise
            return False  # it is there: the next look goes on with it
        _log.info(
            "%s/%s: Job %s is made", job["metadata"]["namespace"], live["metadata"]["name"], job["metadata"]["name"]
        )
        return True

    async def _report(self, key: Key, replay: Object, decision: Decision) -> None:
        status, known = decision.status, replay.get("status") or {}
        if status is None or status == known:
            return
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": KIND,
            "metadata": {"namespace": key[0], "name": key[1], "uid": _uid(replay)},
            "status": status,
        }
        try:
            path = object_path(GROUP_VERSION, _PLURAL, *key, "status")
            self._written[key] = _kept(await self._api.apply(path, body, manager=MANAGER))
        except KubeRefusedError as error:
            if error.status not in (404, 409):  # it was deleted meanwhile, or is another one by now
                raise
            return
        if (status["phase"], status["message"]) != (known.get("phase"), known.get("message")):
            _log.info("%s/%s: %s: %s", *key, status["phase"], status["message"])


def _kept(document: Object) -> Object:
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "metadata": metadata}


def _belongs(pod: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Whether the Pod is the Job's own: its label alone could be anybody's."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and each["uid"] == _uid(job) for each in owners)


def _uid(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["uid"])


def _version(document: Mapping[str, Any]) -> int:
    text = str(document["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0
