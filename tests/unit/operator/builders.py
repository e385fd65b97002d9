"""Builders of routes, resolved routes and Deployments."""

from typing import Any

from chaski_aws.provision.errors import NotOursError, ProvisionError, ProvisionFailure, failure_of
from chaski_core.retry.policy import Rung
from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue

FOREIGN_QUEUE = NotOursError(ProvisionFailure("sqs", "CreateQueue", "q", "NotOurs", "another owner's", None, "rename"))


def provision_error(code: str, service: str = "sqs") -> ProvisionError:
    """A failure on AWS with this error code."""
    return ProvisionError(failure_of(service, "CreateQueue", "q", code, "a message of AWS"))


def route_of(name: str = "orders", **spec: Any) -> Route:
    """A route of namespace `shop` with one queue; `spec` overrides its parts."""
    whole: dict[str, Any] = {
        "queues": [{"name": "messages", "partitions": 2}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
        "producers": [{"namespace": "shop", "serviceAccount": "orders"}],
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
    """The resolved route with made-up URLs, after `older` generations."""
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
    """A Deployment as the API server returns it; without `status` it is fully rolled out."""
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
