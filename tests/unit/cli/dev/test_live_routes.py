"""What changes between two sets of routes."""

from collections.abc import Mapping
from typing import Any

from chaski_cli.dev.live_routes import changes
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route


def route(name: str, *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Route:
    """A route of namespace `n`."""
    return load_route(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name, "namespace": "n", **(metadata or {})},
            "spec": {
                "ordering": "Relaxed",
                "queues": [{"name": "messages"}],
                "targets": {"allow": [{"name": "local", "url": "http://127.0.0.1:9000/"}]},
                **spec,
            },
        }
    )


def by_key(*routes: Route) -> dict[str, Route]:
    """The routes by namespace/name."""
    return {each.key: each for each in routes}


def test_equal_routes_are_no_change() -> None:
    """A file that was written again with the same content restarts nothing."""
    found = changes(by_key(route("a"), route("b")), [route("b"), route("a")])
    assert (found.added, found.changed, found.removed) == ((), (), ())


def test_fields_that_a_route_did_not_have_or_has_no_longer_are_named() -> None:
    """Defaults are filled in on both sides, so writing out a default changes nothing."""
    old = route("a", deadLetters={"retentionDays": 3})
    new = route("a", delivery={"timeoutSeconds": 5}, suspend={"delivery": True})
    ((changed, names),) = changes(by_key(old), [new]).changed
    assert changed is new
    assert names == ("deadLetters", "delivery", "suspend")
    assert (
        changes(by_key(route("a")), [route("a", delivery=dict(route("a").document["spec"]["delivery"]))]).changed == ()
    )


def test_a_change_outside_spec_is_named_too() -> None:
    """Labels and annotations are part of the document."""
    ((_, names),) = changes(by_key(route("a")), [route("a", metadata={"labels": {"team": "x"}})]).changed
    assert names == ("metadata",)


def test_routes_come_and_go() -> None:
    """By namespace and name."""
    found = changes(by_key(route("a"), route("b")), [route("b"), route("c")])
    assert [each.key for each in found.added] == ["n/c"]
    assert found.removed == ("n/a",)
    assert found.changed == ()
