"""Resolved routes as documents."""

from chaski_core.route.loading import load_route
from chaski_core.route.resolved import Generation, ResolvedRoute
from chaski_core.route.resolved_document import resolved_yaml


def resolved_text(name: str, url: str = "https://q/1", table: str | None = "table") -> str:
    """A route of namespace `n` with one queue of one partition."""
    route = load_route(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name, "namespace": "n"},
            "spec": {
                "queues": [{"name": "messages"}],
                "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
            },
        }
    )
    return resolved_yaml([ResolvedRoute(route, (Generation(1, {"messages": (url,)}),), (), (), table)])
