"""ChaskiPolicies on a real API server: routes that are refused, and a policy that is made after its routes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaski_core.route.resolved_document import load_resolved
from support.kube.api_server import KubeApi
from support.kube.charts import of_kind, render
from support.operator.policies import DENIED, complying, policy
from support.operator.processes import QUICK, Operator, kubelets, operator, until
from support.operator.routes import NAME, OperatedRoute

pytestmark = pytest.mark.timeout(600)
_SENT = 5


@pytest.fixture
def policies(kube: KubeApi) -> Iterator[list[str]]:
    """Names of policies; they are deleted at the end."""
    names: list[str] = []
    yield names
    for name in names:
        kube.try_kubectl("delete", "chaskipolicy", name)


def only(namespace: str) -> dict[str, Any]:
    """A selector of one namespace."""
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def apply(kube: KubeApi, *documents: Mapping[str, Any]) -> None:
    """Applies them as one list."""
    kube.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "List", "items": list(documents)})


@pytest.mark.promise(14)
def test_thirty_routes_are_refused_with_policy_and_field(op: Operator, namespace: str, policies: list[str]) -> None:
    """As by `chaski validate`: not accepted, without queues and workers; one that complies gets ready."""
    name = f"teams-{namespace}"
    policies.append(name)
    apply(op.kube, policy(name, only(namespace)))
    apply(op.kube, complying(namespace), *(complying(namespace, each, **spec) for each, (spec, _) in DENIED.items()))
    OperatedRoute(op, namespace, "good").ready()
    for each, (_, fields) in DENIED.items():
        route = OperatedRoute(op, namespace, each)
        message = route.await_condition("Accepted", "False", "PolicyDenied")["message"]
        assert [part.partition(": ")[0] for part in message.split("; spec.")] == [
            field if number == 0 else field.removeprefix("spec.") for number, field in enumerate(fields)
        ]
        assert message.count(f'(policy "{name}")') == len(fields)
        document = route.get()
        assert document is not None
        assert "resolved" not in document["status"]
    assert OperatedRoute(op, namespace, "host").names() == []
    listed = op.kube.get("deployments", "-n", namespace)["items"]
    assert {each["metadata"]["labels"]["chaski.dev/route"] for each in listed} == {"good"}
    reasons = {
        (each["involvedObject"]["name"], each["reason"])
        for each in op.kube.get("events", "-n", namespace)["items"]
        if each["type"] == "Warning"
    }
    assert {(each, "PolicyDenied") for each in DENIED} <= reasons
    assert op.metric("chaski_route_policy_violations") >= sum(len(fields) for _, fields in DENIED.values())


def worker_config(op: Operator, namespace: str) -> Any:
    """The route as its workers read it."""
    data = op.kube.get("configmap", f"chaski-{NAME}", "-n", namespace)["data"]
    return load_resolved(data["resolved.yaml"])[0].route


@pytest.mark.promise(2)
@pytest.mark.promise(14)
def test_a_later_policy_holds_a_route_and_loses_no_message(
    op: Operator, route: OperatedRoute, policies: list[str]
) -> None:
    """Its targets are called no more, whatever its author does; queues and messages stay; without the policy it goes on."""
    resolved, name = route.resolved(), f"later-{route.namespace}"
    (url,) = resolved["generations"][0]["queues"][0]["urls"]
    for number in range(_SENT):
        request = {"QueueUrl": url, "MessageBody": "{}", "MessageGroupId": "s", "MessageDeduplicationId": str(number)}
        op.boto().call("sqs", "SendMessage", request)
    before = set(route.names())
    policies.append(name)
    apply(
        op.kube,
        policy(name, only(route.namespace), allow={"hosts": ["other.example"]}, limits={}, producersRequired=False),
    )
    message = route.await_condition("Accepted", "False", "PolicyDenied")["message"]
    assert 'spec.targets.allow[0].url: the host "t.example" is not allowed' in message
    until(lambda: worker_config(op, route.namespace).suspend.delivery, "the workers deliver on")
    assert route.condition("Suspended")["reason"] == "SuspendedByPolicy"
    assert (set(route.names()), route.resolved()) == (before, resolved)
    # Neither a change of the spec that is denied too nor a pause lets it deliver.
    route.apply(
        targets={"allow": [{"name": "t", "url": "https://u.example/"}]}, queues=[{"name": "messages", "partitions": 2}]
    )
    route.await_condition("Accepted", "False", "PolicyDenied")
    op.kube.kubectl("annotate", "chaskiroute", NAME, "-n", route.namespace, "chaski.dev/reconcile=disabled")
    op.quiet(route.namespace, 3)
    assert worker_config(op, route.namespace).suspend.delivery
    assert route.resolved()["generations"] == resolved["generations"]
    op.kube.kubectl("annotate", "chaskiroute", NAME, "-n", route.namespace, "chaski.dev/reconcile-")
    op.kube.kubectl("delete", "chaskipolicy", name)
    route.apply()
    route.ready()
    assert not worker_config(op, route.namespace).suspend.delivery
    assert route.resolved()["generations"][0]["queues"][0]["urls"] == [url]
    counted = op.boto().call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})["Attributes"]
    assert int(counted["ApproximateNumberOfMessages"]) == _SENT


def test_unknown_policies_accept_nothing_new(kube: KubeApi, tmp_path: Path, moto: str) -> None:
    """A route that was accepted stays ready; a new or changed one waits until the policies can be read."""
    namespace = kube.make_namespace("unknown")
    with operator(kube, tmp_path, moto, namespace) as op, kubelets(kube, namespace):
        op.start()
        old, new = OperatedRoute(op, namespace), OperatedRoute(op, namespace, "new")
        old.apply()
        old.ready()
        op.stop()
        op.api.refuse = lambda request: forbidden() if "chaskipolicies" in request.path else None
        op.start()
        new.apply()
        new.await_condition("Accepted", "Unknown", "PoliciesUnknown")
        old.ready()
        generations = old.resolved()["generations"]
        old.apply(queues=[{"name": "messages", "partitions": 2}])
        old.await_condition("Accepted", "Unknown", "PoliciesUnknown")
        assert old.resolved()["generations"] == generations
        assert (new.names(), op.metric("chaski_policies_known")) == ([], 0)
        assert "--no-policies" in op.log.read_text()
        op.api.refuse = lambda _: None
        new.ready()
        old.ready()
        assert op.metric("chaski_policies_known") == 1


def forbidden() -> web.Response:
    """The API server's refusal."""
    return web.json_response({"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403}, status=403)


def test_the_charts_rights_are_enough(kube: KubeApi, tmp_path: Path, moto: str, policies: list[str]) -> None:
    """With Roles in the served namespaces only, policies are read by a ClusterRole of their own."""
    namespace, user = kube.make_namespace("rights"), f"operator-{tmp_path.name}"
    objects = of_kind(
        render({"watchNamespaces": [namespace]}), "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"
    )
    for each in objects:
        for subject in each.get("subjects", ()):
            if subject["name"] == "chaski-operator":
                subject |= {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
                subject.pop("namespace", None)
    kube.try_kubectl("create", "namespace", "chaski-system")
    apply(kube, *objects)
    policies.append(f"rights-{namespace}")
    apply(kube, policy(policies[0], only(namespace)))
    flags = (*QUICK, "--lease-namespace", "chaski-system")
    with operator(kube, tmp_path, moto, namespace, user=user, flags=flags) as op, kubelets(kube, namespace):
        op.start()
        route = OperatedRoute(op, namespace)
        route.apply()
        route.await_condition("Accepted", "False", "PolicyDenied")
