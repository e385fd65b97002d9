"""The operator never acts on a state that is older than what it has observed already: listings and watches that are late."""

from pathlib import Path

import pytest
from aiohttp import web

from support.dead_letters.replays import Replayed
from support.faults.recording_proxy import ProxiedRequest
from support.kube.api_server import KubeApi
from support.operator.processes import kubelets, operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = [pytest.mark.timeout(400), pytest.mark.promise(7)]


@pytest.mark.promise(7)
def test_route_deleted_during_a_listing_is_not_provisioned_again(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """The listing's response, from before the deletion, is held for three seconds."""
    namespace = kube.make_namespace("raced")
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply(deletionPolicy="Delete")
        route.ready()
        holding: list[str] = []

        def after(request: ProxiedRequest) -> None:
            if not holding and request.summary.endswith("/chaskiroutes") and OWN in request.path:
                holding.append(request.path)
                route.op.kube.kubectl("delete", "chaskiroute", route.name, "-n", namespace, "--wait=false")
                until(lambda: route.get() is None, "the route stayed")

        op.api.after = after
        until(lambda: holding, "no listing")
        until(lambda: route.get() is None and not route.queues(), "queues are left")
        op.api.after = lambda _: None
        op.quiet(namespace, 4.0)
        assert route.queues() == []


def test_route_that_only_the_first_listing_of_the_watch_has_is_not_provisioned_again(
    kube: KubeApi, tmp_path: Path, moto: str
) -> None:
    """Kopf lists by itself before it watches; its response is held until the route and its queues are deleted."""
    namespace = kube.make_namespace("raced")
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        route = OperatedRoute(op, namespace)
        route.apply(deletionPolicy="Delete")
        op.start()
        route.ready()
        op.stop()
        held: list[str] = []

        def after(request: ProxiedRequest) -> None:
            is_of_kopf = OWN not in request.path and "watch=true" not in request.path
            if not held and request.summary.endswith("/chaskiroutes") and is_of_kopf:
                held.append(request.path)
                kube.kubectl("delete", "chaskiroute", route.name, "-n", namespace, "--wait=false")
                until(lambda: route.get() is None and not route.queues(), "the route stayed")
                # Its absence was listed once the kind after it is; a watch that is silent for longer is started again.
                lists = len(listings(op.api.asked))
                until(lambda: len(listings(op.api.asked)) > lists, "the deletion was not listed", every=0.01)
                later = len(op.api.asked)
                until(lambda: listings(op.api.asked[later:], "chaskireplays"), "the listing has no end", every=0.01)

        op.api.after = after
        op.start()
        until(lambda: held and route.get() is None, "no listing")
        op.api.after = lambda _: None
        op.quiet(namespace, 4.0)
        assert (route.queues(), route.tables()) == ([], [])


def test_what_was_written_during_a_listing_is_not_undone(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """Listings of all kinds are held while a route is changed and a replay deleted; their responses change nothing."""
    namespace = kube.make_namespace("raced")
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.ready()
        replay = Replayed(kube, namespace, NAME)
        replay.apply()
        until(lambda: replay.status, "the replay has no status")
        released: list[bool] = []
        held: set[str] = set()

        def after(request: ProxiedRequest) -> None:
            if not released and listings([request], *COLLECTIONS):
                held.add(request.summary.rpartition("/")[2])
                until(lambda: released, "never released")

        op.api.after = after
        until(lambda: held, "no listing")
        route.apply(delivery={"timeoutSeconds": 41})
        route.ready()
        generations = route.generations()
        kube.kubectl("delete", "chaskireplay", replay.name, "-n", namespace)
        released.append(True)
        op.quiet(namespace, 4.0)
        assert route.generations() == generations
        assert "DriftCorrected" not in route.events()
        assert replay.get() is None


def test_route_that_the_operator_cannot_know_to_be_deleted_is_not_provisioned_again(
    kube: KubeApi, tmp_path: Path, moto: str
) -> None:
    """No listing and no watch reports the deletion of the route and of its queue; it is read again before it gets a new one."""
    namespace = kube.make_namespace("blind")

    def refuse(request: ProxiedRequest) -> web.Response | None:
        collection = request.path.partition("?")[0].rpartition("/")[2]
        if request.method != "GET" or collection not in COLLECTIONS:
            return None
        return web.json_response({"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403}, status=403)

    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.ready()
        op.stop()
        op.api.refuse = lambda request: refuse(request) if "watch=true" in request.path else None
        op.start()
        until(lambda: op.log.read_text().count("restarting the watch") > 0, "the watch is open")
        op.api.refuse = refuse
        route.apply(delivery={"timeoutSeconds": 41})
        kube.kubectl("delete", "chaskiroute", route.name, "-n", namespace)
        route.drop_queue(route.queue("messages"))
        until(lambda: "it was deleted" in op.log.read_text(), "the route was not read again")
        op.quiet(namespace, 4.0)
        assert route.queues() == []


OWN = "limit=12"  # in the operator's own listings; kopf's have smaller pages
COLLECTIONS = (
    "chaskiroutes", "chaskireplays", "pods", "deployments", "configmaps", "serviceaccounts", "networkpolicies",
    "poddisruptionbudgets",
)  # fmt: skip


def listings(asked: list[ProxiedRequest], *kinds: str) -> list[ProxiedRequest]:
    """The operator's own listings of these kinds, of routes by default."""
    wanted = kinds or ("chaskiroutes",)
    return [each for each in asked if OWN in each.path and each.summary.rpartition("/")[2] in wanted]
