"""Routes, resolved routes and Deployments for the operator's tests."""

from typing import Any

from chaski_core.retry.ladder import Rung
from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue


def route_of(name: str = "orders", **spec: Any) -> Route:
    """A route of namespace `shop` with one queue; `spec` says what is different."""
    whole: dict[str, Any] = {
        "queues": [{"name": "messages", "partitions": 2}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
    }
    return load_route(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": whole | spec,
        }
    )


def resolved_of(route: Route, *older: Generation, retired: tuple[str, ...] = ()) -> ResolvedRoute:
    """With made-up URLs; `older` generations come before."""
    number = len(older) + 1
    queues = {each.name: tuple(f"q/{each.name}/{n}" for n in range(each.partitions)) for each in route.queues}
    rungs = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    return ResolvedRoute(
        route,
        (*older, Generation(number, queues)),
        tuple(RungQueue(rung, f"q/rung-{rung.name}") for rung in rungs),
        tuple(RungQueue(Rung(name, 5), f"q/rung-{name}") for name in retired),
        "table",
    )


def deployment(name: str = "d", replicas: int = 1, generation: int = 1, **status: Any) -> dict[str, Any]:
    """As the API server has one; without `status` it does as it was told."""
    whole = {
        "observedGeneration": generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": replicas,
    }
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "generation": generation},
        "spec": {"replicas": replicas},
        "status": whole | status,
    }
