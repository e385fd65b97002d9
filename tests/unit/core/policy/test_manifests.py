"""Files with documents of several kinds."""

from pathlib import Path

import pytest

from chaski_core.errors import InvalidRouteError
from chaski_core.policy.manifests import load_manifests

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
ROUTE = """
apiVersion: chaski.dev/v1alpha1
kind: ChaskiRoute
metadata: {name: orders, namespace: shop}
spec:
  queues: [{name: messages}]
  targets: {allow: [{name: t, url: "https://t.example/"}]}
"""
OTHERS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
"""


def replay(**spec: object) -> str:
    """A ChaskiReplay with these fields."""
    fields = {"routeRef": {"name": "orders"}, "filter": {}, **spec}
    return f"apiVersion: chaski.dev/v1alpha1\nkind: ChaskiReplay\nmetadata: {{name: fixed, namespace: shop}}\nspec: {fields}\n"


def test_a_file_for_kubectl_is_read_as_it_is() -> None:
    """Its Namespace and Deployment are skipped."""
    found = load_manifests(f"{OTHERS}---{ROUTE}---\n{replay()}")
    assert (list(found.routes), found.replays, found.errors) == (["shop/orders"], ["shop/fixed"], [])
    assert found.skipped == ["Namespace (v1)", "Deployment (apps/v1)"]
    assert load_manifests(OTHERS).is_foreign


def test_every_example_is_read() -> None:
    """Routes, the policy and the replay; a file of others is none of this project's."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        assert load_manifests(path.read_text("utf-8")).errors == [], path.name
    assert load_manifests((EXAMPLES / "replay.yaml").read_text("utf-8")).replays == ["helpdesk/helpdesk-fixed"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (replay(ratePerSecond=0), "spec.ratePerSecond"),
        (replay(filter={"class": "9xx"}), "spec.filter.class"),
        (replay().replace("v1alpha1", "v9"), "apiVersion"),
        (ROUTE.replace("ChaskiRoute", "ChaskiRout"), "kind"),
        (ROUTE.replace("kind: ChaskiRoute", ""), "kind"),
        (f"{ROUTE}---{ROUTE}", "document 2: metadata.name"),
    ],
    ids=["rate", "class", "version", "kind", "no kind", "twice"],
)
def test_errors_name_their_field(text: str, field: str) -> None:
    """A typing error in the kind of a document of this project is never skipped."""
    assert [error.field for error in load_manifests(text).errors] == [field]


def test_an_empty_text_is_refused() -> None:
    """As before."""
    with pytest.raises(InvalidRouteError, match="has no ChaskiRoute"):
        load_manifests("---\n")
