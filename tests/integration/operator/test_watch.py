"""The operator's watch on a real API server: its isolation, what it reports, and what it leaves alone."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from chaski_operator.kube.cache import ObjectCache
from chaski_operator.kube.informers import Informer, ListingSlots
from chaski_operator.kube.kopf_watch import run_watch
from chaski_operator.manifests.kinds import CONFIG_MAP, ROUTE, Kind, Object
from chaski_runtime.kube.client import KubeApi as Client
from chaski_runtime.kube.client import object_path
from chaski_runtime.kube.config import KubeAccess, kube_access
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.lifecycle import handle_signals, stop_on_signals
from support.faults.recording_proxy import ProxiedRequest, recording_proxy
from support.kube.api_server import KubeApi
from support.operator.routes import owning_route
from support.until import until as eventually

pytestmark = pytest.mark.timeout(400)

Event = tuple[str, str | None, str]  # plural, type, name


def config_map(namespace: str, name: str, owner: dict[str, Any] | None) -> dict[str, Any]:
    """A ConfigMap, with the operator's label and a route's ownership or without."""
    labels = {"app.kubernetes.io/managed-by": "chaski-operator" if owner else "another"}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner] if owner else []}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.fixture
async def admin(kube: KubeApi) -> AsyncIterator[Client]:
    """A client with all permissions."""
    async with Client(kube_access({"KUBECONFIG": str(kube.kubeconfig)}), user_agent="test") as api:
        yield api


@pytest.fixture
async def namespace(kube: KubeApi) -> str:
    """An empty namespace."""
    return await asyncio.to_thread(kube.make_namespace, "watch")


@pytest.fixture
async def owner(kube: KubeApi, namespace: str) -> dict[str, Any]:
    """The owner reference to a route in the namespace."""
    return await asyncio.to_thread(owning_route, kube, namespace)


@contextlib.asynccontextmanager
async def watching(
    access: KubeAccess, namespace: str, *kinds: Kind, on_started: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple["asyncio.Task[None]", list[Event]]]:
    """A running watch of one namespace, and the events that it has reported."""
    events: list[Event] = []

    def record(kind: Kind, type_: str | None, document: Object) -> None:
        events.append((kind.plural, type_, document["metadata"]["name"]))

    task = asyncio.create_task(run_watch(access, namespace, kinds, record, on_started))
    try:
        yield task, events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_of_the_selected_objects_are_reported(
    admin: Client, namespace: str, owner: dict[str, Any]
) -> None:
    """Those that exist have no type; objects of others are filtered by the API server."""
    maps = object_path("v1", "configmaps", namespace)
    await admin.create(maps, config_map(namespace, "known", owner))
    async with watching(admin.access, namespace, CONFIG_MAP, ROUTE) as (_, events):
        await eventually(lambda: ("configmaps", None, "known") in events)
        await admin.create(maps, config_map(namespace, "other", None))
        await admin.create(maps, config_map(namespace, "new", owner))
        await admin.merge_patch(f"{maps}/new", {"data": {"a": "b"}})
        await admin.delete(f"{maps}/new")
        await eventually(lambda: ("configmaps", "DELETED", "new") in events)
    assert [each for each in events if each[0] == "configmaps" and each[2] != "kube-root-ca.crt"] == [
        ("configmaps", None, "known"),
        ("configmaps", "ADDED", "new"),
        ("configmaps", "MODIFIED", "new"),
        ("configmaps", "DELETED", "new"),
    ]


@pytest.mark.promise(9)
async def test_end_of_a_watch_leaves_other_tasks_and_other_watches_alone(
    kube: KubeApi, admin: Client, namespace: str, owner: dict[str, Any]
) -> None:
    """Kopf's own `run_tasks` would cancel every task of the loop that is younger than the watch."""
    unprivileged = kube_access({"KUBECONFIG": str(kube.user_kubeconfig(f"unprivileged-{namespace}"))})
    maps = object_path("v1", "configmaps", namespace)
    async with watching(admin.access, namespace, CONFIG_MAP) as (good, events):
        async with watching(unprivileged, namespace, CONFIG_MAP) as (refused, _):
            younger = asyncio.create_task(asyncio.sleep(3600))
            await asyncio.wait([refused], timeout=60)
            assert refused.done()
            assert refused.exception() is not None
        async with watching(admin.access, namespace, CONFIG_MAP) as (_, seen):
            await eventually(lambda: bool(seen) or not events)
        await asyncio.sleep(1)
        assert not younger.done()
        assert not good.done()
        await admin.create(maps, config_map(namespace, "later", owner))
        await eventually(lambda: ("configmaps", "ADDED", "later") in events)
        younger.cancel()


@pytest.mark.promise(11)
async def test_signals_stay_those_of_the_process(admin: Client, namespace: str) -> None:
    """Kopf installs its own, which would stop the watch only."""
    stop = stop_on_signals()
    try:
        async with watching(admin.access, namespace, CONFIG_MAP, on_started=lambda: handle_signals(stop)) as (task, _):
            await asyncio.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(5):
                await stop.wait()
            assert not task.done()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_end_of_a_watch_leaves_no_task_behind(admin: Client, namespace: str) -> None:
    """A process that loses and acquires its Lease for weeks must not grow."""
    before = asyncio.all_tasks()
    for _ in range(3):
        async with watching(admin.access, namespace, CONFIG_MAP, ROUTE):
            await asyncio.sleep(1)
    await asyncio.sleep(1)
    assert asyncio.all_tasks() <= before


async def test_a_refused_watch_leaves_no_task_behind(kube: KubeApi, admin: Client, namespace: str) -> None:
    """Kopf ends with the first refused watch and leaves those of the other kinds running, which a restart would add up."""

    def refuse(request: ProxiedRequest) -> web.Response | None:
        is_refused = "watch=true" in request.path and "/configmaps" in request.path
        return web.json_response({"message": "denied"}, status=403) if is_refused else None

    with recording_proxy(kube.server, admin.access) as proxy:
        proxy.refuse = refuse
        before = asyncio.all_tasks()
        async with watching(KubeAccess(proxy.url, namespace), namespace, CONFIG_MAP, ROUTE) as (refused, _):
            await asyncio.wait([refused], timeout=60)
            assert refused.done()
            assert refused.exception() is not None
        assert asyncio.all_tasks() <= before


async def test_what_a_watch_does_not_report_is_found_by_listings(
    kube: KubeApi, admin: Client, namespace: str, owner: dict[str, Any]
) -> None:
    """Deletions too, though every watch is refused."""

    def refuse(request: ProxiedRequest) -> web.Response | None:
        return web.json_response({"message": "denied"}, status=403) if "watch=true" in request.path else None

    changed: list[str] = []
    maps = object_path("v1", "configmaps", namespace)
    await admin.create(maps, config_map(namespace, "first", owner))
    with recording_proxy(kube.server, admin.access) as proxy:
        proxy.refuse = refuse
        async with Client(KubeAccess(proxy.url, namespace), user_agent="test") as api:
            cache = ObjectCache()
            informer = Informer(
                api,
                cache,
                namespace,
                on_change=lambda _, document: changed.append(document["metadata"]["name"]),
                on_started=lambda: None,
                slots=ListingSlots(),
                resync_seconds=0.5,
                clock=SystemClock(),
            )
            running = asyncio.create_task(informer.run())
            await eventually(lambda: cache.get(CONFIG_MAP, namespace, "first") is not None)
            await admin.delete(f"{maps}/first")
            await admin.create(maps, config_map(namespace, "second", owner))
            await eventually(lambda: cache.get(CONFIG_MAP, namespace, "first") is None)
            await eventually(lambda: cache.get(CONFIG_MAP, namespace, "second") is not None)
            assert informer.listed_at is not None
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert informer.age_seconds() is None
