"""Routes are validated once for each spec."""

from typing import Any

import pytest

from chaski_core.errors import InvalidRouteError
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
