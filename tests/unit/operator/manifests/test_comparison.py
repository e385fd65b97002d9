"""The comparison of a live object with its manifest."""

from typing import Any

import pytest

from chaski_operator.manifests.comparison import (
    additions,
    difference,
    is_applied,
    owned_fields,
    with_expected,
)


@pytest.mark.parametrize(
    ("desired", "live", "place"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, None),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b"),
        ({"a": {"b": 1}}, {}, "a"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": []}, {}, None),
        ({"a": {}}, {}, None),
        ({"a": []}, {"a": [1]}, "a"),
        ({"c": [{"name": "x", "v": 1}]}, {"c": [{"name": "sidecar"}, {"name": "x", "v": 1, "d": 0}]}, None),
        ({"c": [{"name": "x", "v": 1}]}, {"c": [{"name": "x", "v": 2}]}, "c[x].v"),
        ({"c": [{"name": "x"}]}, {"c": [{"name": "y"}]}, "c[x]"),
        ({"c": [{"port": 1}]}, {"c": [{"port": 2}]}, "c[0].port"),
        ({"s": {"resources": {"limits": {"cpu": "0.5"}}}}, {"s": {"resources": {"limits": {"cpu": "500m"}}}}, None),
        ({"s": {"resources": {"limits": {"m": "1Gi"}}}}, {"s": {"resources": {"limits": {"m": "1024Mi"}}}}, None),
        ({"s": {"resources": {"limits": {"cpu": 1}}}}, {"s": {"resources": {"limits": {"cpu": "1"}}}}, None),
        ({"s": {"resources": {"limits": {"cpu": "1e3"}}}}, {"s": {"resources": {"limits": {"cpu": "1k"}}}}, None),
        (
            {"s": {"resources": {"limits": {"cpu": "1"}}}},
            {"s": {"resources": {"limits": {"cpu": "1m"}}}},
            "s.resources.limits.cpu",
        ),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "1000m"}]}, "env[a].value"),
    ],
)
def test_difference_is_the_first_desired_value_that_is_missing(desired: Any, live: Any, place: str | None) -> None:
    """Additions by others and other spellings of a quantity do not count."""
    assert difference(desired, live) == place


# ---- additions

DESIRED: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "template": {
            "metadata": {"annotations": {"chaski.dev/route-hash": "1"}},
            "spec": {
                "containers": [
                    {"name": "worker", "image": "i", "env": [{"name": "A"}], "ports": [{"containerPort": 9090}]}
                ],
                "volumes": [{"name": "route"}],
            },
        }
    },
}
WORKER = 'k:{"name":"worker"}'


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    """A live object with these managers beside the operator's own."""
    own = pod({"f:containers": {WORKER: {".": {}, "f:image": {}, "f:name": {}}}})
    return {"metadata": {"managedFields": [entry(own, "chaski-operator", "Apply"), *entries]}}


def entry(
    fields: dict[str, Any], manager: str = "kubectl-patch", operation: str = "Update", **more: Any
) -> dict[str, Any]:
    """An entry of `managedFields`."""
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def pod(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of the Pod template's spec."""
    return {"f:spec": {"f:template": {"f:spec": fields}}}


def container(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of the worker's container."""
    return pod({"f:containers": {WORKER: fields}})


def annotation(name: str) -> dict[str, Any]:
    """An annotation of the Pod template."""
    return {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {".": {}, f"f:{name}": {}}}}}}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (pod({"f:containers": {'k:{"name":"thief"}': {".": {}, "f:image": {}}}}), "containers[thief]"),
        (pod({"f:initContainers": {".": {}, 'k:{"name":"x"}': {}}}), "initContainers"),
        (pod({"f:volumes": {'k:{"name":"token"}': {".": {}, "f:secret": {}}}}), "volumes[token]"),
        (pod({"f:hostNetwork": {}}), "hostNetwork"),
        (container({"f:env": {'k:{"name":"SSL_CERT_FILE"}': {".": {}}}}), "containers[worker].env[SSL_CERT_FILE]"),
        (container({"f:securityContext": {"f:privileged": {}}}), "containers[worker].securityContext"),
        (container({"f:ports": {'k:{"containerPort":22,"protocol":"TCP"}': {}}}), "containers[worker].ports[22,TCP]"),
    ],
)
def test_what_others_add_is_named_with_its_manager(fields: dict[str, Any], found: str) -> None:
    """By the topmost field that the manifest lacks."""
    (addition,) = additions(DESIRED, owned_fields(live(entry(fields))))
    assert (addition.field, addition.manager) == (f"spec.template.spec.{found}", "kubectl-patch")
    (own,) = additions(DESIRED, owned_fields(live(entry(fields, "chaski-operator", "Apply"))))
    assert own.manager == "chaski-operator"  # under the operator's name too


@pytest.mark.parametrize(
    "other",
    [
        entry(container({"f:image": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}}}})),
        entry({"f:spec": {"f:replicas": {}}}),
        entry({"f:spec": {"f:hostNetwork": {}}}, subresource="scale"),
        entry({"f:status": {"f:replicas": {}}}, subresource="status"),
        entry({"f:metadata": {"f:labels": {"f:team": {}}, "f:annotations": {"f:argocd.argoproj.io/tracking-id": {}}}}),
        entry(annotation("kubectl.kubernetes.io/restartedAt"), "kubectl-rollout"),
        entry(annotation("reloader.stakater.com/last-reloaded-from"), "Reloader"),
        entry(annotation("keel.sh/update-time"), "keel"),
        entry(container({"f:env": {'k:{"name":"STAKATER_CHASKI_ORDERS_CONFIGMAP"}': {".": {}}}}), "Reloader"),
    ],
)
def test_fields_of_the_manifest_and_marks_of_tools_are_no_additions(other: dict[str, Any]) -> None:
    """The list is documented."""
    assert additions(DESIRED, owned_fields(live(other))) == []


def test_removed_record_of_managers_is_noticed() -> None:
    """A user who may patch a Deployment can remove it, and with it the trace of an addition."""
    assert is_applied(owned_fields(live()))
    assert not is_applied(owned_fields({"metadata": {}}))
    assert not is_applied(owned_fields(live(entry(container({}), "before-first-apply"))))


def test_record_of_managers_without_end_is_an_addition_itself() -> None:
    """It is not kept."""
    fields = owned_fields(live(entry(pod({f"f:x{number}": {} for number in range(20_000)}))))
    assert len(fields) < 200
    assert is_applied(fields)
    assert additions(DESIRED, fields)


def test_marks_of_tools_survive_when_a_deployment_is_replaced() -> None:
    """With the number of Pods; nothing else does."""
    found: dict[str, Any] = {
        "spec": {
            "replicas": 4,
            "template": {
                "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now", "other": "x"}},
                "spec": {
                    "containers": [
                        {"name": "worker", "env": [{"name": "STAKATER_X", "value": "1"}, {"name": "B"}]},
                        {"name": "thief"},
                    ]
                },
            },
        }
    }
    kept = with_expected(DESIRED, found)
    template = kept["spec"]["template"]
    assert kept["spec"]["replicas"] == 4
    annotations = template["metadata"]["annotations"]
    assert annotations == {"chaski.dev/route-hash": "1", "kubectl.kubernetes.io/restartedAt": "now"}
    (worker,) = template["spec"]["containers"]
    assert worker["env"] == [{"name": "A"}, {"name": "STAKATER_X", "value": "1"}]
    assert "replicas" not in DESIRED["spec"]
