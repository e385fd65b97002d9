"""Policies from documents, and docs/teams.md, which documents every field."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaski_core.errors import InvalidRouteError
from chaski_core.policy.loading import load_policies, load_policy
from chaski_core.policy.model import Expression, Operator, Policy, Selector
from chaski_core.route.validation.crd import POLICIES, schema_of
from support.operator.policies import policy


def test_every_field_is_read() -> None:
    """Names of the document to names of the values."""
    selector = {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}
    assert load_policy(policy(selector=selector)) == Policy(
        "teams",
        Selector((("team", "a"),), (Expression("k", Operator.IN, ("v",)),)),
        hosts=("t.example", "*.partners.example.com", "10.1.2.3", "[fd00::1]"),
        cidrs=("10.1.0.0/16", "fd00::/16"),
        secret_names=("chaski-*", "partner.tls"),
        service_account_names=("deliverer",),
        max_partitions=4,
        max_replicas=5,
        max_rate_per_second=100,
        producers_required=True,
    )


def test_a_selector_alone_restricts_nothing() -> None:
    """What is left out is None, not an empty list."""
    assert load_policy(policy(allow={}, limits={}, producersRequired=False)) == Policy("teams")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"namespaceSelector": None}, "spec.namespaceSelector"),
        ({"allow": {"hosts": ["https://a.example/"]}}, "spec.allow.hosts[0]"),
        ({"allow": {"hosts": ["*"]}}, "spec.allow.hosts[0]"),
        ({"allow": {"hosts": ["a.*.example"]}}, "spec.allow.hosts[0]"),
        ({"allow": {"hosts": ["bücher.example"]}}, "spec.allow.hosts[0]"),
        ({"allow": {"hosts": ["a.example", "a.example"]}}, "spec.allow.hosts[1]"),
        ({"allow": {"cidrs": ["10.0.0.1/8"]}}, "spec.allow.cidrs[0]"),
        ({"allow": {"secretNames": ["A"]}}, "spec.allow.secretNames[0]"),
        ({"allow": {"serviceAccountNames": ["a\nb"]}}, "spec.allow.serviceAccountNames[0]"),
        ({"limits": {"partitions": 0}}, "spec.limits.partitions"),
        ({"host": []}, "spec.host"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.namespaceSelector.matchExpressions[0]",
        ),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
            "spec.namespaceSelector.matchExpressions[0]",
        ),
    ],
)
def test_an_invalid_policy_names_the_field(spec: dict[str, Any], field: str) -> None:
    """By the schema and the rules of its definition."""
    with pytest.raises(InvalidRouteError) as raised:
        load_policy(policy(**spec))
    assert field in {each.field for each in raised.value.errors}


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "a\nb", "A", ""])
def test_a_name_is_a_dns_label(name: str) -> None:
    """It is in logs, conditions and tables, so it has no other characters."""
    with pytest.raises(InvalidRouteError, match=r"metadata\.name"):
        load_policy(policy(name))


def test_a_file_may_declare_namespaces_beside_policies() -> None:
    """Their labels decide offline which policies select a route, as in the cluster."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
    loaded = load_policies(yaml.safe_dump_all([policy("a"), namespace, policy("b")]))
    assert [each.name for each in loaded.policies] == ["a", "b"]
    assert loaded.namespaces == {"shop": {"team": "a", "kubernetes.io/metadata.name": "shop"}}


@pytest.mark.parametrize(
    "text", ["", "{apiVersion: v1, kind: Namespace, metadata: {name: a}}", "{kind: ChaskiRoute}", "a: ["]
)
def test_a_file_without_a_policy_is_refused(text: str) -> None:
    """A typing error must not let every route pass."""
    with pytest.raises(InvalidRouteError):
        load_policies(text)


def test_errors_of_one_of_several_documents_name_it() -> None:
    """By its number."""
    with pytest.raises(InvalidRouteError, match=r"document 2: spec\.limits\.replicas"):
        load_policies(yaml.safe_dump_all([policy(), policy("b", limits={"replicas": 0})]))


def test_the_documentation_has_every_field_and_a_valid_example() -> None:
    """So that users can find it."""
    text = (Path(__file__).parents[4] / "docs" / "teams.md").read_text(encoding="utf-8")
    example = next(each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "ChaskiPolicy" in each)
    assert load_policies(example).policies[0].max_partitions == 8
    spec = schema_of(POLICIES)["properties"]["spec"]["properties"]
    fields = [name for name in spec if name not in ("allow", "limits")]
    fields += [f"{part}.{name}" for part in ("allow", "limits") for name in spec[part]["properties"]]
    assert [name for name in fields if f"`{name}`" not in text] == []
