"""Routes are validated once for each spec."""

from typing import Any

import pytest

from chaski_core.errors import InvalidRouteError
from chaski_core.route.default_retry import default_retry
from chaski_core.route.model import Ordering
from chaski_operator.route.loader import RouteLoader


def document(generation: int = 1, uid: str = "u", **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute as the API server returns it."""
    whole = {"queues": [{"name": "messages"}], "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]}}
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "orders", "namespace": "shop", "uid": uid, "generation": generation},
        "spec": whole | spec,
        "status": {"replicas": 1},
    }


def test_route_is_loaded_again_only_when_its_spec_has_changed() -> None:
    """By generation, and by uid where it was deleted and created again."""
    loader = RouteLoader()
    first = loader.load(document())
    assert loader.load(document()) is first
    assert "status" not in first.document
    assert loader.load(document(2, delivery={"timeoutSeconds": 7})).delivery.timeout_seconds == 7
    assert loader.load(document(2, "another")).delivery.timeout_seconds != 7


def test_other_spec_of_the_same_generation_is_loaded() -> None:
    """A restored etcd gives a generation a second time."""
    loader = RouteLoader()
    lost = loader.load(document(5, delivery={"timeoutSeconds": 30}))
    assert loader.load(document(5, delivery={"timeoutSeconds": 7})).delivery.timeout_seconds == 7
    assert lost.delivery.timeout_seconds == 30


def test_invalid_spec_is_reported_each_time_until_it_is_changed() -> None:
    """With its errors."""
    loader = RouteLoader()
    for _ in range(2):
        with pytest.raises(InvalidRouteError) as caught:
            loader.load(document(queues=[]))
        assert [error.field for error in caught.value.errors] == ["spec.queues"]
    assert loader.load(document(2)).name == "orders"


def test_deleted_route_is_forgotten() -> None:
    """Its memory is freed."""
    loader = RouteLoader()
    first = loader.load(document())
    loader.forget(("shop", "orders"))
    assert loader.load(document()) is not first


KEPT = {"rungs": [{"name": "r", "delaySeconds": 9}], "ladders": [{"class": "any", "rungs": ["r"]}]}


def resolved(generation: int, retry: dict[str, Any]) -> dict[str, Any]:
    """A route without `retry` and with a status that another release wrote for generation 3."""
    return document(generation) | {"status": {"resolved": {"observedGeneration": 3, "retry": retry}}}


def test_upgraded_operator_keeps_the_default_ladders_until_the_spec_changes() -> None:
    """Then those of this release apply."""
    assert [each.name for each in RouteLoader().load(resolved(3, KEPT)).retry.rungs] == ["r"]
    own = default_retry(Ordering.RELAXED)["rungs"]
    assert [each.name for each in RouteLoader().load(resolved(4, KEPT)).retry.rungs] == [each["name"] for each in own]


def test_ladders_of_another_release_that_this_one_can_not_read_are_replaced() -> None:
    """After a downgrade, for example; the route is served with the defaults of this release."""
    retry = {**KEPT, "ladders": [{"class": "a new class", "rungs": ["r"]}]}
    assert RouteLoader().load(resolved(3, retry)).retry == RouteLoader().load(document(3)).retry
