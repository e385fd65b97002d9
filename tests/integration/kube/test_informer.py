"""The informer with both transports, on a real API server and on one with scripted responses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from chaski_runtime.kube.client import KubeApi, object_path
from chaski_runtime.kube.config import KubeAccess, kube_access
from chaski_runtime.kube.informer import Informer, Key
from chaski_runtime.process.clock import SystemClock
from support.kube.api_server import KubeApi as Server
from support.kube.fake_server import TRANSPORTS, TransportType
from support.serving import served_app
from support.until import until

LABEL = {"watched": "yes"}
Change = tuple[str, str | None]  # name, kept value


def kept(document: dict[str, Any]) -> str:
    """The value of a ConfigMap."""
    return str(document.get("data", {}).get("value", ""))


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> TransportType:
    """Each transport."""
    made: TransportType = request.param
    return made


@contextlib.asynccontextmanager
async def informing(
    access: KubeAccess, path: str, transport: TransportType
) -> AsyncIterator[tuple[Informer[str], list[Change]]]:
    """A running informer, and the changes that it reports."""
    changes: list[Change] = []

    def on_change(key: Key, value: str | None) -> None:
        changes.append((key[1], value))

    async with KubeApi(access, user_agent="test", transport=transport) as api:
        informer = Informer(api, path, kept, SystemClock(), lambda: 0.0, selector="watched=yes", on_change=on_change)
        task = asyncio.create_task(informer.run())
        try:
            yield informer, changes
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def config_map(namespace: str, name: str, value: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A ConfigMap with one value."""
    metadata = {"name": name, "namespace": namespace, "labels": LABEL if labels is None else labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


async def test_informer_follows_changes(kube: Server, transport: TransportType) -> None:
    """Existing, new, changed and deleted objects; objects with other labels are ignored."""
    namespace = kube.make_namespace()
    put: Callable[..., str] = lambda *each: kube.kubectl("apply", "-f", "-", document=config_map(namespace, *each))  # noqa: E731 - short for six calls
    put("a", "1")
    put("other", "1", {})
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with informing(access, object_path("v1", "configmaps", namespace), transport) as (informer, changes):
        await until(lambda: informer.synced)
        assert dict(informer.items) == {(namespace, "a"): "1"}
        await asyncio.to_thread(put, "b", "2")
        await asyncio.to_thread(put, "a", "3")
        await asyncio.to_thread(kube.kubectl, "delete", "configmap", "b", "-n", namespace)
        await until(lambda: changes[-1] == ("b", None))
        assert changes == [("a", "1"), ("b", "2"), ("a", "3"), ("b", None)]
        assert list(informer) == ["3"]


@pytest.mark.promise(10)
async def test_items_are_kept_while_the_api_server_is_unavailable(own_kube: Server, transport: TransportType) -> None:
    """Afterwards changes are reported again."""
    put: Callable[..., str] = lambda *each: own_kube.kubectl("apply", "-f", "-", document=config_map("default", *each))  # noqa: E731 - short for two calls
    put("a", "1")
    access = kube_access({"KUBECONFIG": str(own_kube.kubeconfig)})
    async with informing(access, object_path("v1", "configmaps"), transport) as (informer, _):
        await until(lambda: informer.synced)
        await asyncio.to_thread(own_kube.down)
        await until(lambda: informer.error is not None)
        assert dict(informer.items) == {("default", "a"): "1"}
        await asyncio.to_thread(own_kube.up)
        await asyncio.to_thread(put, "a", "2")
        await until(lambda: dict(informer.items) == {("default", "a"): "2"})
        await until(lambda: informer.error is None)


class ScriptedServer:
    """An API server with a list of responses: pages of lists, and the events of a watch until it ends."""

    def __init__(self, *responses: Any) -> None:
        self.responses = list(responses)
        self.requests: list[dict[str, str]] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Sends the next response; hangs when none is left."""
        self.requests.append(dict(request.query))
        if not self.responses:
            await asyncio.Event().wait()
        status, body = self.responses.pop(0)
        return web.Response(status=status, body=body, content_type="application/json")


def listing(version: str, *items: tuple[str, str, str], more: str = "") -> tuple[int, bytes]:
    """A page of objects: name, version, value."""
    objects = [{"metadata": {"name": n, "resourceVersion": v}, "data": {"value": x}} for n, v, x in items]
    return 200, orjson.dumps({"metadata": {"resourceVersion": version, "continue": more}, "items": objects})


def events(*changes: tuple[str, str, str, str]) -> tuple[int, bytes]:
    """A watch's events: type, name, version, value."""
    return 200, b"".join(
        orjson.dumps({"type": t, "object": {"metadata": {"name": n, "resourceVersion": v}, "data": {"value": x}}})
        + b"\n"
        for t, n, v, x in changes
    )


EXPIRED = (410, orjson.dumps({"kind": "Status", "reason": "Expired", "message": "too old"}))
EXPIRED_EVENT = (200, orjson.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}) + b"\n")


@pytest.mark.parametrize("expired", [EXPIRED, EXPIRED_EVENT], ids=["response", "event"])
async def test_expired_version_causes_a_new_list(expired: tuple[int, bytes], transport: TransportType) -> None:
    """Objects changed or deleted in between are reported as usual, unchanged ones are not."""
    server = ScriptedServer(
        listing("1", ("a", "1", "x"), ("b", "1", "x"), ("c", "1", "x")),
        expired,
        listing("9", ("a", "1", "x"), ("c", "8", "y")),
    )
    async with served(server) as access, informing(access, "/things", transport) as (informer, changes):
        await until(lambda: len(server.requests) == 4)
        assert changes == [("a", "x"), ("b", "x"), ("c", "x"), ("b", None), ("c", "y")]
        assert server.requests[-1]["resourceVersion"] == "9"
        assert dict(informer.items) == {("", "a"): "x", ("", "c"): "y"}


async def test_version_that_went_back_causes_a_new_list(transport: TransportType) -> None:
    """A restored etcd counts on from the version of its backup; the new watch begins at the version of the new list."""
    server = ScriptedServer(
        listing("380", ("a", "370", "x"), ("lost", "380", "y")),
        events(("BOOKMARK", "", "223", "")),
        listing("224", ("a", "224", "z")),
    )
    async with served(server) as access, informing(access, "/things", transport) as (informer, changes):
        await until(lambda: len(server.requests) == 4)
        assert changes == [("a", "x"), ("lost", "y"), ("lost", None), ("a", "z")]
        assert server.requests[-1]["resourceVersion"] == "224"
        assert dict(informer.items) == {("", "a"): "z"}


async def test_bookmarks_advance_the_watch_and_pages_form_one_list(transport: TransportType) -> None:
    """The next watch starts at the bookmark."""
    server = ScriptedServer(
        listing("5", ("a", "1", "x"), more="p2"),
        listing("5", ("b", "2", "x")),
        events(("MODIFIED", "b", "6", "y"), ("BOOKMARK", "", "70", "")),
    )
    async with served(server) as access, informing(access, "/things", transport) as (informer, _):
        await until(lambda: len(server.requests) == 4)
        assert server.requests[1]["continue"] == "p2"
        assert (server.requests[2]["resourceVersion"], server.requests[3]["resourceVersion"]) == ("5", "70")
        assert dict(informer.items) == {("", "a"): "x", ("", "b"): "y"}


async def test_invalid_and_refused_responses_are_tolerated(transport: TransportType) -> None:
    """The informer has an error, keeps its items and retries."""
    server = ScriptedServer(
        listing("1", ("a", "1", "x")),
        (403, orjson.dumps({"reason": "Forbidden", "message": "no"})),
        (200, b"<html>"),
        (200, b"{}"),
        (503, b"unavailable"),
    )
    async with served(server) as access, informing(access, "/things", transport) as (informer, changes):
        await until(lambda: len(server.requests) == 6)
        assert informer.error is not None
        assert (dict(informer.items), changes) == ({("", "a"): "x"}, [("a", "x")])


async def test_failing_object_does_not_affect_others(transport: TransportType) -> None:
    """Whether reading it or its handler fails."""
    server = ScriptedServer(listing("1", ("a", "1", "x"), ("b", "2", "y")))
    seen: list[Key] = []

    def keep(document: dict[str, Any]) -> str:
        return {"b": "kept"}[document["metadata"]["name"]]

    def fail(key: Key, _: str | None) -> None:
        seen.append(key)
        raise ValueError

    async with served(server) as access, KubeApi(access, user_agent="test", transport=transport) as api:
        informer = Informer(api, "/things", keep, SystemClock(), lambda: 0.0, on_change=fail)
        task = asyncio.create_task(informer.run())
        await until(lambda: len(server.requests) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (dict(informer.items), seen) == ({("", "b"): "kept"}, [("", "b")])


@contextlib.asynccontextmanager
async def served(server: ScriptedServer) -> AsyncIterator[KubeAccess]:
    """Serves it, and returns the access to it."""
    app = web.Application()
    app.router.add_get("/things", server.respond)
    async with served_app(app) as url:
        yield KubeAccess(url, "default")
