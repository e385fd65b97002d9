"""Which ChaskiRoutes are served, with which queues, and why others are not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.route_cache import KubeRoutes, Unserved, _state_of
from support.clocks import StillClock

KEY = ("ns", "a")
ACCEPTED = {"type": "Accepted", "status": "True", "observedGeneration": 1, "message": ""}


def route(generation: int = 1, *, observed: int | None = 1, urls: int = 1, **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute as the API server has it. `observed`: the generation that its queues were made for; None: none."""
    document: dict[str, Any] = {
        "metadata": {"name": "a", "namespace": "ns", "generation": generation, "labels": {"x": "y"}},
        "spec": {
            "queues": [{"name": "messages", "partitions": urls}],
            "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            **spec,
        },
        "status": {"conditions": [ACCEPTED], "backlog": 3},
    }
    if observed is not None:
        queues = [{"name": "messages", "urls": [f"https://q/{observed}-{n}" for n in range(urls)]}]
        made = {"generation": observed, "generations": [{"number": observed, "queues": queues}]}
        document["status"]["resolved"] = {**made, "observedGeneration": observed}
    return document


@pytest.fixture
async def routes() -> AsyncIterator[KubeRoutes]:
    """The routes, without an API server; `see` applies events."""
    async with KubeApi(KubeAccess("http://127.0.0.1:1", "default"), user_agent="test") as api:
        yield KubeRoutes(api, [], StillClock(), lambda: 0.0)


def see(routes: KubeRoutes, document: dict[str, Any] | None) -> ResolvedRoute | Unserved | None:
    """The route after an event."""
    for informer in routes._informers.values():
        informer.synced = True
    routes._changed(KEY, None if document is None else _state_of(document))
    return routes.find(*KEY)


def served(found: ResolvedRoute | Unserved | None) -> ResolvedRoute:
    """The route, which must be served."""
    assert isinstance(found, ResolvedRoute), found
    return found


def urls(found: ResolvedRoute | Unserved | None) -> tuple[str, ...]:
    """The URLs of its queue."""
    return served(found).current.queues["messages"]


async def test_before_the_first_list_nothing_is_known(routes: KubeRoutes) -> None:
    """503, not 404; and the process is not ready."""
    assert routes.find(*KEY) == Unserved(503, "the routes are not loaded yet; try again")
    assert routes.unready_reason() == "the routes were not listed yet"
    see(routes, None)
    assert (routes.find(*KEY), routes.unready_reason()) == (None, None)


async def test_a_route_is_served_once_its_queues_are_made(routes: KubeRoutes) -> None:
    """And no longer once it is deleted."""
    assert see(routes, route(observed=None)) == Unserved(
        404, "the operator has not created the queues of the route yet"
    )
    assert urls(see(routes, route())) == ("https://q/1-0",)
    assert see(routes, None) is None


async def test_a_route_that_is_being_deleted_accepts_nothing(routes: KubeRoutes) -> None:
    """Its queues are about to be deleted."""
    see(routes, route())
    deleting = route()
    deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert see(routes, deleting) == Unserved(404, "the route is being deleted")


async def test_a_route_that_is_not_accepted_is_not_served(routes: KubeRoutes) -> None:
    """A refusal of an older generation does not count."""
    refusal = {**ACCEPTED, "status": "False", "message": "target x is not allowed here"}
    refused = route()
    refused["status"]["conditions"] = [refusal]
    refusal_of_operator = Unserved(404, "the operator does not accept the route: target x is not allowed here")
    assert see(routes, refused) == refusal_of_operator
    refused["status"]["conditions"] = [{**refusal, "observedGeneration": 0}]
    assert urls(see(routes, refused)) == ("https://q/1-0",)


async def test_a_change_that_is_not_accepted_leaves_the_route_as_it_was(routes: KubeRoutes) -> None:
    """Its producers can go on sending."""
    before = served(see(routes, route()))
    changed = route(2, urls=4)
    changed["status"]["conditions"] = [{**ACCEPTED, "status": "False", "observedGeneration": 2, "message": "no"}]
    assert see(routes, changed) is before
    assert see(routes, route(3, queues=[])) is before


@pytest.mark.promise(3)
async def test_new_queues_are_used_only_once_the_operator_has_created_them(routes: KubeRoutes) -> None:
    """Else a subject would move to another queue before the old ones are blocked, and overtake itself."""
    see(routes, route())
    patterns = [{"name": "other", "subjects": ["s*"]}, {"name": "messages"}]
    waiting = served(see(routes, route(2, observed=1, queues=patterns)))
    assert waiting.place("s1") == ("messages", 0, "https://q/1-0")
    followed = route(2, observed=2, queues=patterns)
    followed["status"]["resolved"]["generations"][0]["queues"].append({"name": "other", "urls": ["https://q/other"]})
    assert served(see(routes, followed)).place("s1") == ("other", 0, "https://q/other")


async def test_other_changes_apply_at_once(routes: KubeRoutes) -> None:
    """Suspending ingest, or removing a producer, does not wait for the operator."""
    see(routes, route())
    producer = {"namespace": "ns", "serviceAccount": "app"}
    waiting = served(see(routes, route(2, observed=1, suspend={"ingest": True}, producers=[producer])))
    assert waiting.route.suspend.ingest
    assert [each.service_account for each in waiting.route.producers] == ["app"]


async def test_an_ingest_that_starts_during_a_change_answers_503(routes: KubeRoutes) -> None:
    """It does not know the queues before the change."""
    expected = Unserved(503, "the route has changed and the operator has not reconciled it yet; try again")
    assert see(routes, route(2, observed=1)) == expected
    assert urls(see(routes, route(2, observed=2))) == ("https://q/2-0",)


async def test_counts_in_the_status_change_nothing(routes: KubeRoutes) -> None:
    """They change every minute for each route: the route is not parsed again."""
    before = see(routes, route())
    counted = route()
    counted["status"]["backlog"] = 99
    assert see(routes, counted) is before


@pytest.mark.parametrize(
    "resolved", [{}, {"generations": []}, {"generations": [{"number": 1, "queues": []}]}, {"generations": 5}]
)
async def test_an_invalid_status_serves_nothing_and_stops_no_other_route(
    routes: KubeRoutes, resolved: dict[str, Any]
) -> None:
    """A route that was served before goes on as well."""
    broken = route()
    broken["status"]["resolved"] = resolved
    found = see(routes, broken)
    assert isinstance(found, Unserved)
    assert found.status == 404
    before = see(routes, route(2, observed=2))
    broken["metadata"]["generation"] = 3
    assert see(routes, broken) is before


async def test_other_spec_of_the_same_generation_is_followed(routes: KubeRoutes) -> None:
    """A restored etcd gives a generation a second time."""
    assert (
        served(see(routes, route(5, observed=5, delivery={"timeoutSeconds": 30}))).route.delivery.timeout_seconds == 30
    )
    assert served(see(routes, route(5, observed=5, delivery={"timeoutSeconds": 7}))).route.delivery.timeout_seconds == 7


@pytest.mark.promise(9)
async def test_namespace_that_cannot_be_listed_stops_no_other() -> None:
    """It is waited for until its first failure; the routes of the others are found; its own get 503."""
    async with KubeApi(KubeAccess("http://127.0.0.1:1", "default"), user_agent="test") as api:
        routes = KubeRoutes(api, ["ns", "refused"], StillClock(), lambda: 0.0)
        good, refused = routes._informers.values()
        refused.error = "Forbidden: no"
        assert routes.unready_reason() is not None
        good.synced, refused.error = True, None
        assert routes.unready_reason() is not None
        refused.error = "Forbidden: no"
        assert routes.unready_reason() is None
        assert routes.stale_reason() == "Forbidden: no"
        assert routes.find("ns", "unknown") is None
        assert routes.find("refused", "unknown") == Unserved(503, "the routes are not loaded yet; try again")
        assert routes.find("another", "unknown") is None


async def test_each_namespace_has_a_watch_of_its_own() -> None:
    """With a list of namespaces a Role in each is enough."""
    async with KubeApi(KubeAccess("http://127.0.0.1:1", "default"), user_agent="test") as api:
        routes = KubeRoutes(api, ["a", "b"], StillClock(), lambda: 0.0)
        assert [each._path.split("/")[-2] for each in routes._informers.values()] == ["a", "b"]
        task = asyncio.create_task(routes.follow())
        await asyncio.sleep(0.05)
        assert routes.unready_reason() is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def large(name: str, observed: int | None = 1, *, rules: int = 32) -> dict[str, Any]:
    """A route whose rules have CA certificates of 16 kB each."""
    document = route(observed=observed)
    document["metadata"] |= {"name": name}
    bundle = f"-----BEGIN CERTIFICATE-----\n{name}{'x' * 15_900}"
    document["spec"]["targets"]["allow"] = [
        {"name": f"t{number}", "url": f"https://t{number}.example/", "caBundle": f"{bundle}{number}"}
        for number in range(rules)
    ]
    return document


@pytest.mark.promise(12)
async def test_no_document_is_kept_of_a_route_that_is_not_served(routes: KubeRoutes) -> None:
    """Anyone who may create routes can make 200 of 1 MB that never become ready."""
    refused = large("refused")
    refused["status"]["conditions"] = [{**ACCEPTED, "status": "False", "message": "no"}]
    deleted = large("deleted")
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for document in (large("unready", None), refused, deleted):
        routes._observed(document)
        assert isinstance(routes.unserved["ns", document["metadata"]["name"]], Unserved)
    assert retained(routes) < 100_000
    routes._observed(large("served"))
    assert retained(routes) > 32 * 15_900


@pytest.mark.promise(12)
@pytest.mark.promise(14)
async def test_served_documents_of_a_namespace_have_a_limit(
    routes: KubeRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond it is not served, with the reason; other namespaces are; a deletion makes space."""
    monkeypatch.setattr("chaski_runtime.kube.route_cache._MAX_NAMESPACE_BYTES", 4 * 2**20)
    for number in range(10):
        routes._observed(large(str(number)))
    over = [key for key, each in routes.unserved.items() if "more than 4 MiB together" in each.detail]
    assert (len(routes.served), len(over), routes.unserved[over[0]].status) == (8, 2, 503)
    assert retained(routes) < 5 * 2**20
    other = large("a") | {"metadata": {"name": "a", "namespace": "other", "generation": 1}}
    routes._observed(other)
    assert ("other", "a") in routes.served
    grown = large("0", rules=64)
    grown["metadata"]["generation"] = 2
    grown["status"]["resolved"]["observedGeneration"] = 2
    routes._observed(grown)
    assert ("ns", "0") in routes.unserved
    routes._removed(("ns", "1"), None)
    routes._states.pop(over[0])
    routes._observed(large(over[0][1]))
    assert over[0] in routes.served


def retained(routes: KubeRoutes) -> int:
    """Bytes of all texts that the routes refer to."""
    seen: set[int] = set()
    waiting: list[Any] = [routes.served, routes.unserved, routes._states]
    waiting += [each.items for each in routes._informers.values()]
    total = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        total += len(each) if isinstance(each, str | bytes) else 0
        if isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
        else:
            waiting += [getattr(each, name) for name in getattr(type(each), "__slots__", ())]
            waiting += getattr(each, "__dict__", {}).values()
    return total


@pytest.mark.promise(2)
async def test_a_route_that_policies_deny_is_withdrawn(routes: KubeRoutes) -> None:
    """Also if it was served: its producers get 503 and keep their messages. It is served again once it is accepted."""
    see(routes, route())
    denied = route()
    denied["status"]["conditions"] = [{**ACCEPTED, "status": "False", "reason": "PolicyDenied", "message": "host x"}]
    found = see(routes, denied)
    assert found == Unserved(503, "a policy of the cluster denies the route now; its messages stay in their queues")
    new = route(observed=None)
    new["status"]["conditions"] = denied["status"]["conditions"]
    assert isinstance(refused := see(routes, new), Unserved)
    assert refused.status == 404
    assert urls(see(routes, route())) == ("https://q/1-0",)


async def test_a_change_that_can_not_be_judged_applies_in_no_part(routes: KubeRoutes) -> None:
    """Until the operator can read the policies; an ingest that starts meanwhile does not know what was accepted."""
    before = served(see(routes, route()))
    changed = route(2, observed=1, producers=[{"namespace": "ns", "serviceAccount": "new"}])
    changed["status"]["conditions"] = [
        {**ACCEPTED, "status": "Unknown", "reason": "PoliciesUnknown", "observedGeneration": 2}
    ]
    assert see(routes, changed) is before
    see(routes, None)
    assert isinstance(found := see(routes, changed), Unserved)
    assert found.status == 503
