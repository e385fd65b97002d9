"""A mirror of a collection, against a real API server and against one that answers as told."""

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
from support.until import until

LABEL = {"mirrored": "yes"}
Change = tuple[str, str | None]  # name, what is kept


def kept(document: dict[str, Any]) -> str:
    """One value of a ConfigMap."""
    return str(document.get("data", {}).get("value", ""))


@contextlib.asynccontextmanager
async def mirroring(access: KubeAccess, path: str) -> AsyncIterator[tuple[Informer[str], list[Change]]]:
    """A mirror that runs, and what it told of."""
    changes: list[Change] = []

    def note(key: Key, value: str | None) -> None:
        changes.append((key[1], value))

    async with KubeApi(access, user_agent="test") as api:
        mirror = Informer(api, path, kept, SystemClock(), lambda: 0.0, selector="mirrored=yes", on_change=note)
        task = asyncio.create_task(mirror.run())
        try:
            yield mirror, changes
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def config_map(namespace: str, name: str, value: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A ConfigMap with one value."""
    metadata = {"name": name, "namespace": namespace, "labels": LABEL if labels is None else labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


async def test_it_follows_what_happens(kube: Server) -> None:
    """What was there, what comes, changes and goes; other labels are not seen."""
    namespace = kube.make_namespace()
    put: Callable[..., str] = lambda *each: kube.kubectl("apply", "-f", "-", document=config_map(namespace, *each))  # noqa: E731 - short for six calls
    put("a", "1")
    put("other", "1", {})
    access = kube_access({"KUBECONFIG": str(kube.kubeconfig)})
    async with mirroring(access, object_path("v1", "configmaps", namespace)) as (mirror, changes):
        await until(lambda: mirror.synced)
        assert dict(mirror.items) == {(namespace, "a"): "1"}
        await asyncio.to_thread(put, "b", "2")
        await asyncio.to_thread(put, "a", "3")
        await asyncio.to_thread(kube.kubectl, "delete", "configmap", "b", "-n", namespace)
        await until(lambda: changes[-1] == ("b", None))
        assert changes == [("a", "1"), ("b", "2"), ("a", "3"), ("b", None)]
        assert list(mirror) == ["3"]


@pytest.mark.promise(10)
async def test_while_the_api_server_is_away_what_is_known_stays(own_kube: Server) -> None:
    """And when it is back, what happens is seen again."""
    put: Callable[..., str] = lambda *each: own_kube.kubectl("apply", "-f", "-", document=config_map("default", *each))  # noqa: E731 - short for two calls
    put("a", "1")
    access = kube_access({"KUBECONFIG": str(own_kube.kubeconfig)})
    async with mirroring(access, object_path("v1", "configmaps")) as (mirror, _):
        await until(lambda: mirror.synced)
        await asyncio.to_thread(own_kube.down)
        await until(lambda: mirror.trouble is not None)
        assert dict(mirror.items) == {("default", "a"): "1"}
        await asyncio.to_thread(own_kube.up)
        await asyncio.to_thread(put, "a", "2")
        await until(lambda: dict(mirror.items) == {("default", "a"): "2"})
        await until(lambda: mirror.trouble is None)


class Told:
    """An API server whose answers are a list: pages of lists, and what a watch sends before it ends."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The next one; none left: nothing for ever."""
        self.asked.append(dict(request.query))
        if not self.answers:
            await asyncio.Event().wait()
        status, body = self.answers.pop(0)
        return web.Response(status=status, body=body, content_type="application/json")


def listing(version: str, *items: tuple[str, str, str], more: str = "") -> tuple[int, bytes]:
    """A page: name, version, value of each."""
    objects = [{"metadata": {"name": n, "resourceVersion": v}, "data": {"value": x}} for n, v, x in items]
    return 200, orjson.dumps({"metadata": {"resourceVersion": version, "continue": more}, "items": objects})


def events(*told: tuple[str, str, str, str]) -> tuple[int, bytes]:
    """A watch: type, name, version, value of each."""
    return 200, b"".join(
        orjson.dumps({"type": t, "object": {"metadata": {"name": n, "resourceVersion": v}, "data": {"value": x}}})
        + b"\n"
        for t, n, v, x in told
    )


GONE = (410, orjson.dumps({"kind": "Status", "reason": "Expired", "message": "too old"}))
GONE_EVENT = (200, orjson.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}) + b"\n")


@pytest.mark.parametrize("gone", [GONE, GONE_EVENT], ids=["answer", "event"])
async def test_after_a_version_that_is_too_old_it_lists_again(gone: tuple[int, bytes]) -> None:
    """What went or changed in between is told of like any other change; what did not is not."""
    server = Told(
        listing("1", ("a", "1", "x"), ("b", "1", "x"), ("c", "1", "x")),
        gone,
        listing("9", ("a", "1", "x"), ("c", "8", "y")),
    )
    async with served(server) as access, mirroring(access, "/things") as (mirror, changes):
        await until(lambda: len(server.asked) == 4)
        assert changes == [("a", "x"), ("b", "x"), ("c", "x"), ("b", None), ("c", "y")]
        assert server.asked[-1]["resourceVersion"] == "9"
        assert dict(mirror.items) == {("", "a"): "x", ("", "c"): "y"}


async def test_bookmarks_move_the_watch_on_and_pages_make_one_list() -> None:
    """The next watch begins after the bookmark."""
    server = Told(
        listing("5", ("a", "1", "x"), more="p2"),
        listing("5", ("b", "2", "x")),
        events(("MODIFIED", "b", "6", "y"), ("BOOKMARK", "", "70", "")),
    )
    async with served(server) as access, mirroring(access, "/things") as (mirror, _):
        await until(lambda: len(server.asked) == 4)
        assert server.asked[1]["continue"] == "p2"
        assert (server.asked[2]["resourceVersion"], server.asked[3]["resourceVersion"]) == ("5", "70")
        assert dict(mirror.items) == {("", "a"): "x", ("", "b"): "y"}


async def test_nonsense_and_refusals_are_borne() -> None:
    """It says what is wrong, keeps what it has, and asks again."""
    server = Told(
        listing("1", ("a", "1", "x")),
        (403, orjson.dumps({"reason": "Forbidden", "message": "no"})),
        (200, b"<html>"),
        (200, b"{}"),
        (503, b"away"),
    )
    async with served(server) as access, mirroring(access, "/things") as (mirror, changes):
        await until(lambda: len(server.asked) == 6)
        assert mirror.trouble is not None
        assert (dict(mirror.items), changes) == ({("", "a"): "x"}, [("a", "x")])


async def test_an_object_that_can_not_be_read_stops_no_other() -> None:
    """Neither by what is kept of it, nor by who is told."""
    server = Told(listing("1", ("a", "1", "x"), ("b", "2", "y")))
    seen: list[Key] = []

    def keep(document: dict[str, Any]) -> str:
        return {"b": "kept"}[document["metadata"]["name"]]

    def tell(key: Key, _: str | None) -> None:
        seen.append(key)
        raise ValueError

    async with served(server) as access, KubeApi(access, user_agent="test") as api:
        mirror = Informer(api, "/things", keep, SystemClock(), lambda: 0.0, on_change=tell)
        task = asyncio.create_task(mirror.run())
        await until(lambda: len(server.asked) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (dict(mirror.items), seen) == ({("", "b"): "kept"}, [("", "b")])


@contextlib.asynccontextmanager
async def served(server: Told) -> AsyncIterator[KubeAccess]:
    """Access to it."""
    app = web.Application()
    app.router.add_get("/things", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield KubeAccess(f"http://127.0.0.1:{runner.addresses[0][1]}", "default")
    finally:
        await runner.cleanup()
