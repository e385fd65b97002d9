"""The Job of a ChaskiReplay: its command line, its window of time, its Pod."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_operator.replay.job import arguments, replay_job, window
from chaski_operator.settings import PodSettings, ToolPods
from support.kube.expansion import environment_of, expand

UID = "0e3cf89f-88e5-4fe7-9f3c-1f4d0a2b9c11"
CREATED = 1_795_514_400_000  # 2026-11-24T10:00:00Z
TOOLS = ToolPods("tools:1", pull_secrets=("registry",), environment={"AWS_REGION": "eu-west-1"})


def replay(**spec: Any) -> dict[str, Any]:
    """A ChaskiReplay as the API server returns it."""
    metadata = {
        "name": "fixed",
        "namespace": "shop",
        "uid": UID,
        "creationTimestamp": "2026-11-24T10:00:00Z",
        "generation": 1,
    }
    return {"metadata": metadata, "spec": {"routeRef": {"name": "orders"}, "filter": {}} | spec}


def route(**workers: Any) -> dict[str, Any]:
    """A ChaskiRoute."""
    return {"metadata": {"name": "orders", "namespace": "shop"}, "spec": {"workers": workers}}


def test_every_field_of_the_spec_becomes_a_flag() -> None:
    """A value in the form of a flag stays a value; ids come last, after `--`."""
    spec = {
        "filter": {"since": "2h", "until": "2026-11-24T09:00:00Z", "subject": "--yes", "target": "t", "class": "5xx",
                   "text": "a b", "ids": ["-1", "m2"]},
        "toURL": "https://new.example", "ratePerSecond": 20, "again": True, "dryRun": True,
    }  # fmt: skip
    assert arguments(replay(**spec)).job_arguments(9090, "/dev/termination-log") == [
        "--yes", "--output", "json", "--progress-port", "9090", "--report", "/dev/termination-log",
        "--run", "fixed.0e3cf89f-88e5-4fe7", "--since=2026-11-24T08:00:00.000Z", "--until=2026-11-24T09:00:00.000Z",
        "--subject=--yes", "--target=t", "--class=5xx", "--text=a b", "--to-url=https://new.example", "--rate=20",
        "--again", "--dry-run", "--", "-1", "m2",
    ]  # fmt: skip


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "value", ["$(AWS_SECRET_ACCESS_KEY)", "price-$$5", "$", "a$", "$$$(X)", "$(X", "${X} $X $1", "ü$ü"]
)
def test_a_value_reaches_the_container_as_it_is(value: str) -> None:
    """The kubelet would replace `$(NAME)` by a variable of the Pod, and `$$` by `$`."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "topsecret", "X": "x", "Y": value}
    given = replay(
        filter={"subject": value, "text": value, "ids": ["m1", value]}, toURL=f"https://allowed.example/{value}"
    )
    (container,) = replay_job(given, route(), replace(TOOLS, environment=secrets))["spec"]["template"]["spec"][
        "containers"
    ]
    environment = environment_of(container["env"])
    assert environment == secrets
    expanded = [expand(each, environment) for each in (*container["command"], *container["args"])]
    assert expanded[-3:] == ["--", "m1", value]
    for flag in (f"--subject={value}", f"--text={value}", f"--to-url=https://allowed.example/{value}"):
        assert flag in expanded


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ({}, None, CREATED + 1000),
        ({"since": "90s"}, CREATED - 90_000, CREATED + 1000),
        ({"until": "2026-11-25T00:00:00Z"}, None, CREATED + 1000),
        ({"until": "1h"}, None, CREATED - 3_600_000),
        ({"since": "2026-11-24"}, CREATED - 36_000_000, CREATED + 1000),
    ],
    ids=["none", "relative", "in the future", "an hour before", "a date"],
)
def test_window_is_the_same_for_every_pod(given: dict[str, str], since: int | None, until: int) -> None:
    """It depends on the resource's creation, never on the clock; later failures are never part of it."""
    assert window(replay(filter=given)) == (since, until)


def test_invalid_time_is_named() -> None:
    """The schema's pattern accepts a thirteenth month."""
    with pytest.raises(ValueError, match=r'spec\.filter\.since: "2026-13-01"'):
        window(replay(filter={"since": "2026-13-01"}))


def test_pod_is_admitted_by_restricted_namespaces_without_a_token() -> None:
    """It reads its route as workers do, and writes only to /tmp and its termination message."""
    spec = replay_job(replay(), route(), TOOLS)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (spec["automountServiceAccountToken"], spec["serviceAccountName"]) == (False, "chaski-orders.replay")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/etc/chaski/route", "/tmp"]
    assert {"name": "route", "configMap": {"name": "chaski-orders"}} in spec["volumes"]
    assert container["env"] == [{"name": "AWS_REGION", "value": "eu-west-1"}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def test_pod_has_the_users_names_and_certificates_of_the_workers() -> None:
    """OpenShift chooses user and groups; a name with a dot is looked up as it is first."""
    common = PodSettings(None, None, None, ndots=2, aws_ca_bundle="PEM")
    spec = replay_job(replay(), route(), ToolPods("t", common=common))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["dnsConfig"] == {"options": [{"name": "ndots", "value": "2"}]}
    assert {"name": "aws-ca", "configMap": {"name": "chaski-orders.aws-ca"}} in spec["volumes"]
    assert {"name": "aws-ca", "mountPath": "/etc/chaski/aws-ca", "readOnly": True} in container["volumeMounts"]
    assert container["env"] == [{"name": "AWS_CA_BUNDLE", "value": "/etc/chaski/aws-ca/ca.crt"}]


@pytest.mark.promise(14)
def test_a_job_runs_as_its_routes_account_in_its_own_namespace() -> None:
    """Whatever replay and route name: the operator, which may create Jobs everywhere, lends no other ServiceAccount."""
    foreign = {"namespace": "kube-system", "serviceAccountName": "chaski-operator", "serviceAccount": "chaski-operator"}
    given = replay(**foreign, routeRef={"name": "orders", **foreign}, template={"spec": foreign})
    marks = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/admin", "sidecar.istio.io/inject": "false"}
    given["metadata"] |= {"annotations": marks, "labels": marks}
    of_route = route(**foreign)
    of_route["metadata"] |= {"annotations": marks, "labels": marks}
    made = replay_job(given, of_route, TOOLS)
    assert made == replay_job(replay(), route(), TOOLS)
    assert made["metadata"]["namespace"] == "shop"
    template = made["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == "chaski-orders.replay"
    assert template["metadata"] == {
        "labels": {
            "app.kubernetes.io/name": "chaski-replay",
            "chaski.dev/replay": "fixed",
            "chaski.dev/replayed-route": "orders",
        }
    }


def test_pod_runs_on_the_nodes_of_the_workers() -> None:
    """Only labelled nodes may reach AWS."""
    made = replay_job(replay(), route(nodeSelector={"net": "aws"}, tolerations=[{"operator": "Exists"}]), TOOLS)
    spec = made["spec"]["template"]["spec"]
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"net": "aws"}, [{"operator": "Exists"}])


def test_labels_do_not_match_the_workers_selector() -> None:
    """The autoscaler and the route's status select Pods by the route's label."""
    made = replay_job(replay(), route(), TOOLS)
    assert "chaski.dev/route" not in made["spec"]["template"]["metadata"]["labels"]
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "chaski-operator"


def test_later_replay_of_the_same_name_has_its_own_run_and_job() -> None:
    """Messages sent by the first must not count as sent by the second, nor its Job as the second's."""
    first, second = replay(), replay()
    second["metadata"]["uid"] = "f" + UID[1:]
    names = {replay_job(each, route(), TOOLS)["metadata"]["name"] for each in (first, second)}
    assert len(names) == len({arguments(each).run for each in (first, second)}) == 2
    first["metadata"]["name"] = "n" * 40
    assert len(replay_job(first, route(), TOOLS)["metadata"]["name"]) <= 63
    assert len(arguments(first).run) <= 64


def test_a_replay_runs_where_the_workers_of_its_route_run() -> None:
    """With the installation's defaults; a field of the route replaces them."""
    tools = ToolPods("t", defaults={"priorityClassName": "low", "affinity": {"nodeAffinity": {}}, "labels": {"a": "b"}})
    document = route()
    document["spec"] = {**document["spec"], "workers": {"priorityClassName": "high"}}
    template = replay_job(replay(), document, tools)["spec"]["template"]
    assert (template["spec"]["priorityClassName"], template["spec"]["affinity"]) == ("high", {"nodeAffinity": {}})
    assert "a" not in template["metadata"]["labels"]
