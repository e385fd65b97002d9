"""Whether a route complies with policies."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chaski_core.policy.decision import secret_fields, selecting, violations
from chaski_core.policy.loading import load_policy
from chaski_core.policy.model import Expression, Operator, Policy, Selector
from chaski_core.route.loading import load_route
from chaski_core.route.model import rule_host
from chaski_core.route.validation.crd import route_schema
from support.operator.policies import DENIED, complying, policy

_WHOLE = load_policy(policy())


def test_a_route_that_uses_all_that_is_allowed_complies() -> None:
    """Hosts in any case, wildcards below a wildcard, ranges inside a range, and each limit exactly."""
    assert violations(load_route(complying("shop")), [_WHOLE]) == []


def test_at_least_thirty_routes_are_tried() -> None:
    """As many as the operator and `chaski validate` are tried with."""
    assert len(DENIED) >= 30


@pytest.mark.parametrize("name", DENIED)
def test_each_violation_names_policy_and_field(name: str) -> None:
    """And nothing else of the route is objected to."""
    spec, fields = DENIED[name]
    found = violations(load_route(complying("shop", name, **spec)), [_WHOLE])
    assert [each.field for each in found] == fields
    assert {each.policy for each in found} == {"teams"}
    assert all(str(each).endswith(' (policy "teams")') for each in found)


@pytest.mark.parametrize("name", DENIED)
def test_a_policy_without_restrictions_denies_nothing(name: str) -> None:
    """A field that is left out restricts nothing."""
    assert violations(load_route(complying("shop", name, **DENIED[name][0])), [Policy("empty")]) == []


def test_empty_lists_allow_nothing() -> None:
    """No host, no private range, no Secret and no ServiceAccount of the user's own."""
    nothing = Policy("none", hosts=(), cidrs=(), secret_names=(), service_account_names=())
    found = violations(load_route(complying("shop")), [nothing])
    assert len([each for each in found if each.field.endswith(".url")]) == 6
    assert "spec.workers.serviceAccountName" in {each.field for each in found}
    assert all(each.message.endswith("none is allowed") for each in found)


def test_every_selecting_policy_must_hold() -> None:
    """So a further policy only restricts more, whatever its name."""
    wide, narrow = Policy("a", hosts=("*.example.com", "b.example")), Policy("z", hosts=("b.example",))
    document = complying("shop", targets={"allow": [{"name": "t", "url": "https://a.example.com/"}]})
    (found,) = violations(load_route(document), [wide, narrow])
    assert (found.policy, found.field) == ("z", "spec.targets.allow[0].url")


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (Selector(), {}, True),
        (Selector((("team", "a"),)), {"team": "a", "x": "y"}, True),
        (Selector((("team", "a"),)), {"team": "b"}, False),
        (Selector((("team", "a"), ("tier", "1"))), {"team": "a"}, False),
        (Selector((), (Expression("team", Operator.IN, ("a", "b")),)), {"team": "b"}, True),
        (Selector((), (Expression("team", Operator.IN, ("a", "b")),)), {}, False),
        (Selector((), (Expression("team", Operator.NOT_IN, ("a",)),)), {}, True),
        (Selector((), (Expression("team", Operator.NOT_IN, ("a",)),)), {"team": "a"}, False),
        (Selector((), (Expression("team", Operator.EXISTS),)), {"team": ""}, True),
        (Selector((), (Expression("team", Operator.EXISTS),)), {}, False),
        (Selector((), (Expression("team", Operator.DOES_NOT_EXIST),)), {}, True),
        (Selector((), (Expression("team", Operator.DOES_NOT_EXIST),)), {"team": "a"}, False),
    ],
)
def test_selectors_are_those_of_kubernetes(selector: Selector, labels: Mapping[str, str], selected: bool) -> None:
    """Labels and expressions, all of them."""
    assert (selecting([Policy("p", selector)], labels) != []) is selected


def test_policies_are_judged_by_name() -> None:
    """So that the same route always gets the same text."""
    assert [each.name for each in selecting([Policy("b"), Policy("a")], {})] == ["a", "b"]


@pytest.mark.parametrize("url", ["https://user:pw@h.example/", "https://", "nonsense"])
def test_a_host_that_can_not_be_read_is_covered_by_nothing(url: str) -> None:
    """Only valid routes are judged, but an unreadable rule must never pass."""
    assert rule_host(url) == ""


def test_invalid_addresses_in_a_policy_cover_nothing() -> None:
    """The schema's pattern lets some pass."""
    document = complying("shop", targets={"allow": [{"name": "t", "url": "http://[fd00::1]:80/"}]})
    assert len(violations(load_route(document), [Policy("p", hosts=("[::::]",))])) == 1


def test_secrets_are_found_wherever_a_route_names_one() -> None:
    """By the end of the field's name, at every depth."""
    spec = {"a": {"secretName": "x"}, "b": [{"c": {"clientSecretName": "y", "secretName": 5}}], "secret": "z"}
    assert list(secret_fields(spec, "spec")) == [("spec.a.secretName", "x"), ("spec.b[0].c.clientSecretName", "y")]


def _texts(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, child in node.get("properties", {}).items():
        if child.get("type") == "string":
            yield f"{path}.{name}", child.get("description", "")
        yield from _texts(child, f"{path}.{name}")
    if "items" in node:
        yield from _texts(node["items"], f"{path}[]")


def test_every_field_of_a_route_that_names_a_secret_is_found_by_its_name() -> None:
    """A new field with another name would not be restricted by policies."""
    spec = route_schema()["properties"]["spec"]
    named = {path for path, description in _texts(spec, "spec") if description.startswith("Secret ")}
    assert {"spec.signing.secretName", "spec.targets.allow[].clientCertSecretName"} <= named
    assert [path for path in named if not path.lower().endswith("secretname")] == []
