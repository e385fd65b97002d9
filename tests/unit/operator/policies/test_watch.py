"""The policies of a cluster, as followed from a fake API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from chaski_operator.metrics import OperatorMetrics
from chaski_operator.policies.watch import ClusterPolicies
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.process.clock import SystemClock
from support.kube.fake_server import serving
from support.metric_pages import samples
from support.operator.policies import policy
from support.until import until
from unit.operator.builders import route_of

STRICT = policy(
    "strict", {"matchLabels": {"team": "a"}}, allow={"hosts": ["other.example"]}, limits={}, producersRequired=False
)


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """A Namespace."""
    return {"metadata": {"name": name, "labels": labels}}


class Cluster:
    """The collections of an API server; a collection that is an int is refused with this status."""

    def __init__(self, policies: list[dict[str, Any]] | int, *namespaces: dict[str, Any]) -> None:
        self.policies = policies
        self.namespaces: list[dict[str, Any]] | int = list(namespaces)
        self.version = 1
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A list; a watch ends with the next change, so that the informer lists again."""
        items = self.namespaces if request.path.endswith("/namespaces") else self.policies
        if isinstance(items, int):
            return web.json_response({"kind": "Status", "reason": "Refused", "message": "no"}, status=items)
        if "watch" in request.query:
            await self.changed.wait()
            return web.Response(status=410)
        for each in items:
            each["metadata"] = {**each["metadata"], "resourceVersion": str(self.version)}
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    def change(self, **collections: Any) -> None:
        """Replaces collections, and ends the watches."""
        for name, items in collections.items():
            setattr(self, name, items)
        self.version += 1
        self.changed.set()
        self.changed = asyncio.Event()


@asynccontextmanager
async def following(
    cluster: Cluster, changes: list[str | None], metrics: OperatorMetrics | None = None, *, enabled: bool = True
) -> AsyncIterator[ClusterPolicies]:
    """The policies, followed."""
    async with serving(cluster.handle) as url, KubeApi(KubeAccess(url, "default"), user_agent="test") as api:
        policies = ClusterPolicies(
            api,
            SystemClock(),
            lambda: 0.0,
            on_change=changes.append,
            metrics=metrics or OperatorMetrics(),
            enabled=enabled,
        )
        task = asyncio.create_task(policies.follow())
        try:
            yield policies
        finally:
            cluster.changed.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_route_is_judged_by_the_policies_that_select_its_namespace() -> None:
    """And again when a label or a policy changes."""
    cluster = Cluster([STRICT], namespace("shop", team="b"), namespace("else"))
    changes: list[str | None] = []
    metrics = OperatorMetrics()
    async with following(cluster, changes, metrics) as policies:
        assert policies.judge(route_of()) is None  # nothing was read yet
        await policies.first_read()
        await until(lambda: changes == [None])
        assert policies.judge(route_of()) == []
        cluster.change(namespaces=[namespace("shop", team="a"), namespace("else")])
        await until(lambda: "shop" in changes[1:])
        assert [each.policy for each in policies.judge(route_of()) or ()] == ["strict"]
        page = samples(metrics)
        labels = {"namespace": "shop", "route": "orders", "policy": "strict"}
        assert page["chaski_route_policy_violations"] == [(labels, 1.0)]
        assert page["chaski_policies_known"] == [({}, 1.0)]
        cluster.change(policies=[])
        await until(lambda: policies.judge(route_of()) == [])
        policies.forget(("shop", "orders"))
        assert "chaski_route_policy_violations" not in samples(metrics)


@pytest.mark.parametrize("status", [403, 500])
async def test_policies_that_can_not_be_read_are_unknown(status: int) -> None:
    """Not absent; and neither are those whose namespace can't be read."""
    cluster = Cluster(status, namespace("shop"))
    changes: list[str | None] = []
    async with following(cluster, changes) as policies:
        await asyncio.sleep(0.3)
        assert (policies.is_known(), policies.judge(route_of()), changes) == (False, None, [])
    cluster = Cluster([], namespace("shop"))
    cluster.namespaces = status
    async with following(cluster, changes) as policies:
        await asyncio.sleep(0.3)
        assert (policies.is_known(), policies.judge(route_of())) == (False, None)


async def test_without_the_definition_there_are_no_policies() -> None:
    """404: the CRD is not installed."""
    changes: list[str | None] = []
    async with following(Cluster(404), changes) as policies:
        await until(lambda: changes == [None])
        assert policies.judge(route_of()) == []


async def test_disabled_policies_ask_nothing() -> None:
    """The operator then needs no rights for them."""
    async with following(Cluster(403), [], enabled=False) as policies:
        assert (policies.is_known(), policies.judge(route_of())) == (True, [])


async def test_the_last_policies_hold_while_the_api_server_refuses() -> None:
    """They are known, though old."""
    cluster = Cluster([STRICT], namespace("shop", team="a"))
    changes: list[str | None] = []
    async with following(cluster, changes) as policies:
        await policies.first_read()
        cluster.change(policies=403)
        await asyncio.sleep(0.3)
        assert len(policies.judge(route_of()) or ()) == 1


async def test_a_policy_of_a_later_release_leaves_routes_as_they_are() -> None:
    """A field that is not known here could restrict more; what other policies deny stays denied."""
    later = policy("later", allow={"hosts": ["t.example"], "ports": [443]})
    cluster = Cluster([later], namespace("shop", team="a"))
    changes: list[str | None] = []
    async with following(cluster, changes) as policies:
        await policies.first_read()
        assert policies.judge(route_of()) is None
        cluster.change(policies=[later, STRICT])
        await until(lambda: policies.judge(route_of()) is not None)
        assert [each.policy for each in policies.judge(route_of()) or ()] == ["strict"]


async def test_a_namespace_whose_event_is_missing_is_awaited() -> None:
    """Its first route may arrive before."""
    cluster = Cluster([])
    changes: list[str | None] = []
    async with following(cluster, changes) as policies:
        await policies.first_read()
        assert (policies.judge(route_of()), policies.awaits("shop")) == (None, True)
        cluster.change(namespaces=[namespace("shop")])
        await until(lambda: "shop" in changes)
        assert (policies.judge(route_of()), policies.awaits("shop")) == ([], False)
