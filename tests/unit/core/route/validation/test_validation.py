"""Faults that `validate` finds, beside the table of tests/contract/crd."""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core.errors import FieldError
from chaski_core.route.loading import validate, validate_change
from chaski_core.route.validation.crd import ROUTES, schema_of
from contract.crd.making import ABSENT, base, changed


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("kind", "Deployment", FieldError("kind", 'must be ChaskiRoute, not "Deployment"')),
        ("kind", ABSENT, FieldError("kind", "is missing; it is ChaskiRoute")),
        ("apiVersion", "chaski.dev/v1", FieldError("apiVersion", 'must be chaski.dev/v1alpha1, not "chaski.dev/v1"')),
    ],
)
def test_another_kind_of_document_has_one_fault(path: str, value: Any, fault: FieldError) -> None:
    """Its other fields are not validated."""
    assert validate(changed({path: value, "spec.queues": []})) == [fault]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("metadata.label", {}, "metadata.label"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a"),
        ("metadata.annotations", ["a"], "metadata.annotations"),
        ("metadata", None, "metadata"),
        ("extra", 1, "extra"),
    ],
)
def test_metadata_and_the_top_level_are_validated(path: str, value: Any, field: str) -> None:
    """The API server's own fields are known, and others are refused."""
    assert [fault.field for fault in validate(changed({path: value}))] == [field]


OUTSIDE = (
    *(
        "..",
        ".",
        "../other",
        "../../etc/shadow",
        "/etc/shadow",
        "a/b",
        "a/../b",
        "..data",
        "a\\b",
        "a\0b",
        "a\n",
        "~",
        "",
    ),
    *("kube-system/admin", "kube-system:admin", "%2e%2e", "%2e%2e%2fother", "\uff0e\uff0e", "a\u2215b", "$(HOME)"),
)
_ALLOW = "spec.targets.allow.0"
NAMES = {
    "spec.signing": "secretName",
    f"{_ALLOW}.signing": "secretName",
    f"{_ALLOW}": "clientCertSecretName",
    f"{_ALLOW}.auth.oauth2": "secretName",
    f"{_ALLOW}.auth.headers.0": "secretName",
    f"{_ALLOW}.auth.headers.0 ": "key",
    f"{_ALLOW} ": "name",  # a folder of the rule's token
    "spec.workers": "serviceAccountName",
}


@pytest.mark.promise(14)
@pytest.mark.parametrize("value", OUTSIDE, ids=ascii)
@pytest.mark.parametrize(("path", "name"), NAMES.items())
def test_a_name_leads_neither_out_of_its_folder_nor_into_another_namespace(path: str, name: str, value: str) -> None:
    """Names of Secrets, their keys, rules and ServiceAccounts are parts of paths in a Pod; none has a namespace."""
    auth: dict[str, Any] = {}
    if ".headers" in path:
        auth = {f"{_ALLOW}.auth": {"headers": [{"name": "X-Key", "secretName": "s", "key": "k"}]}}
    if ".oauth2" in path:
        auth = {f"{_ALLOW}.auth": {"oauth2": {"tokenURL": "https://id.example/", "secretName": "s"}}}
    place = f"{path.strip()}.{name}"
    assert validate(changed({**auth, place: "mine"})) == []
    field = re.sub(r"\.(\d+)", r"[\1]", place)
    assert field in {fault.field for fault in validate(changed({**auth, place: value}))}


@pytest.mark.promise(14)
def test_only_producers_are_of_another_namespace() -> None:
    """Secrets, ServiceAccounts and the route of a replay are always of the object's own."""

    def named(node: Mapping[str, Any], path: str = "spec") -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if "namespace" in name.lower():
                yield f"{path}.{name}"
            yield from named(child, f"{path}.{name}")
        if "items" in node:
            yield from named(node["items"], f"{path}[]")

    found = [each for plural in (ROUTES, "chaskireplays") for each in named(schema_of(plural)["properties"]["spec"])]
    assert found == ["spec.producers[].namespace"]
    ignored = changed({"spec.signing": {"secretName": "s", "namespace": "kube-system"}})
    assert [fault.field for fault in validate(ignored)] == ["spec.signing.namespace"]


def test_a_status_in_a_file_is_not_read() -> None:
    """The API server drops it as well."""
    assert validate(changed({"status": {"anything": 1}, "metadata.uid": "x"})) == []


def test_faults_of_schema_and_rules_are_reported_together() -> None:
    """A fault in one part does not hide those in the others."""
    faults = validate(
        changed(
            {
                "spec.delivery.timeoutSeconds": "30s",
                "spec.queues": [{"name": "a"}, {"name": "b"}],
                "spec.retry": {"rungs": [], "ladders": [{"class": "any", "rungs": ["quick"]}]},
            }
        )
    )
    assert "spec.retry.ladders[0].rungs[0]" in {fault.field for fault in faults}
    assert "spec.delivery.timeoutSeconds" in {fault.field for fault in faults}


def test_yaml_booleans_are_explained() -> None:
    """For a name that YAML reads as a boolean."""
    (fault,) = validate(changed({"spec.queues.0.name": True}))
    assert fault.message.startswith("must be text, not true; put it in quotes (YAML reads on, off")


def test_a_change_is_validated_with_defaults_on_both_sides() -> None:
    """Writing a default explicitly is not a change; another value is one."""
    assert validate_change(base(), changed({"spec.ordering": "Relaxed", "spec.queues.0.partitions": 9})) == []
    assert [fault.field for fault in validate_change(changed({"spec.ordering": "Strict"}), base())] == ["spec.ordering"]


def test_one_route_is_validated_in_less_than_fifty_milliseconds() -> None:
    """Fast enough to be done on every change of a file; the best of five, for the machine may be busy."""
    validate(base())
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        validate(base())
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.05


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_PLACES = [
    *("spec", "metadata", "metadata.name", "spec.queues", "spec.queues.0", "spec.queues.0.subjects", "spec.targets"),
    *("spec.targets.allow", "spec.targets.allow.0", "spec.targets.allow.0.url", "spec.targets.allow.0.cidrs"),
    *("spec.retry", "spec.retry.rungs", "spec.retry.ladders", "spec.producers", "spec.subjectGroup.pattern"),
    *("spec.autoscaling", "spec.workers.tolerations", "spec.workers.resources.limits", "spec.ordering"),
]


@given(place=st.sampled_from(_PLACES), value=_JSON)
@settings(max_examples=300, deadline=None)
def test_any_document_can_be_validated(place: str, value: Any) -> None:
    """No value in any place makes validation fail, and no rule is evaluated where it can't be."""
    faults = validate(changed({place: value})) + validate_change(base(), changed({place: value}))
    assert not [fault for fault in faults if "can't be evaluated" in fault.message]
