"""The Kubernetes objects of a route."""

from dataclasses import replace
from typing import Any

import pytest

from chaski_core.route.loading import load_route
from chaski_core.route.resolved import Generation
from chaski_operator.manifests.manifests import desired_objects, oversize
from chaski_operator.manifests.names import ROUTE_HASH, consumer_name, retry_name
from chaski_operator.manifests.worker_pod import pod_template, sweeper_of, worker_deployments
from chaski_operator.settings import PodSettings, ToolPods, WorkerPodTemplate
from support.kube.expansion import environment_of
from unit.operator.builders import resolved_of, route_of

PODS = WorkerPodTemplate("image:1")


def objects_of(kind: str, pods: WorkerPodTemplate = PODS, **spec: Any) -> list[dict[str, Any]]:
    """The route's objects of one kind."""
    return [each for each in desired_objects(resolved_of(route_of(**spec)), "uid", pods) if each["kind"] == kind]


def hash_of(**spec: Any) -> str:
    """The route's hash in its Pods."""
    annotations = objects_of("Deployment", **spec)[0]["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[ROUTE_HASH])


def test_same_route_gives_the_same_objects() -> None:
    """Rendering uses no state and no clock."""
    resolved = resolved_of(route_of())
    assert desired_objects(resolved, "uid", PODS) == desired_objects(resolved, "uid", PODS)


@pytest.mark.promise(2)
def test_sweeper_is_added_to_the_other_deployments() -> None:
    """Only on request; with a name of its own, and without the Secrets that may be missing."""
    route = route_of(queues=[{"name": "sweep"}], signing={"secretName": "keys"})
    usual = desired_objects(resolved_of(route), "uid", PODS)
    more = desired_objects(resolved_of(route), "uid", PODS, sweep=True)
    assert more[:-1] == usual
    template = more[-1]["spec"]["template"]
    assert template["spec"]["containers"][0]["command"][1:3] == ["sweep", "--route"]
    assert [each["name"] for each in template["spec"]["volumes"]] == ["route"]
    assert [each["name"] for each in template["spec"]["containers"][0]["volumeMounts"]] == ["route"]
    assert more[-1]["metadata"]["name"] not in {each["metadata"]["name"] for each in usual}
    selectors = [each["spec"]["selector"]["matchLabels"] for each in usual if each["kind"] == "Deployment"]
    assert not any(each.items() <= template["metadata"]["labels"].items() for each in selectors)


def test_no_object_sets_replicas() -> None:
    """The field belongs to the autoscaler."""
    assert all("replicas" not in each["spec"] for each in objects_of("Deployment"))


@pytest.mark.parametrize(
    "spec",
    [
        {"autoscaling": {"maxReplicas": 3}},
        {"deletionPolicy": "Delete"},
        {"producers": [{"apiKeySha256": ["0" * 64]}]},
        {"suspend": {"ingest": True}},
        {"targets": {"allow": [{**rule, "suspend": True} for rule in route_of().document["spec"]["targets"]["allow"]]}},
    ],
    ids=str,
)
def test_change_that_no_worker_reads_keeps_the_hash(spec: dict[str, Any]) -> None:
    """Nor one that a running worker reads again: so the Pods are not rolled."""
    assert hash_of(**spec) == hash_of()


def test_a_suspended_target_reaches_running_workers_in_their_config_map() -> None:
    """It is in the mounted file, and nothing else of the route's objects changes but the hash of that ConfigMap."""
    rules = route_of().document["spec"]["targets"]["allow"]
    before, after = (
        desired_objects(
            resolved_of(route_of(targets={"allow": [{**rule, "suspend": on} for rule in rules]})), "uid", PODS
        )
        for on in (False, True)
    )
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [each["kind"] for each in changed] == ["ConfigMap"]
    assert "suspend: true" in changed[0]["data"]["resolved.yaml"]


@pytest.mark.parametrize(
    "spec",
    [
        {"delivery": {"timeoutSeconds": 31}},
        {"suspend": {"delivery": True}},
        {"targets": {"allow": [{"name": "u", "url": "https://t.example/"}]}},
        {"queues": [{"name": "messages", "partitions": 3}]},
    ],
    ids=str,
)
def test_change_that_workers_read_changes_the_hash(spec: dict[str, Any]) -> None:
    """So the Pods are rolled."""
    assert hash_of(**spec) != hash_of()


def test_draining_queue_keeps_its_deployment() -> None:
    """Under the queue's name in its generation."""
    workers = worker_deployments(resolved_of(route_of(), Generation(1, {"old": ("q",), "messages": ("q",)})))
    assert [(each.queue, each.stage) for each in workers] == [("messages", "first"), ("old", "first"), (None, "retry")]


@pytest.mark.parametrize(
    ("spec", "retired", "exists"),
    [
        ({}, (), True),
        ({"ordering": "Strict"}, (), False),
        ({"retry": {"rungs": [], "ladders": []}}, (), False),
        ({"retry": {"rungs": [], "ladders": []}}, ("slow",), True),
    ],
)
def test_error_consumer_exists_while_rungs_exist(spec: dict[str, Any], retired: tuple[str, ...], exists: bool) -> None:
    """Only in Relaxed; draining rungs count."""
    workers = worker_deployments(resolved_of(route_of(**spec), retired=retired))
    assert any(each.queue is None for each in workers) == exists


def test_named_service_account_is_not_created() -> None:
    """It belongs to the user; the role is annotated on the operator's own."""
    named = {"workers": {"serviceAccountName": "mine"}}
    assert objects_of("ServiceAccount", **named) == []
    assert objects_of("Deployment", **named)[0]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    (made,) = objects_of("ServiceAccount", WorkerPodTemplate("i", role_arn="arn:x"))
    assert made["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == "arn:x"


@pytest.mark.promise(14)
def test_no_object_takes_annotations_or_labels_from_its_route() -> None:
    """With them its author could switch off sidecars and AppArmor of the Pods, or take an AWS role."""
    hostile = {
        "container.apparmor.security.beta.kubernetes.io/worker": "unconfined",
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/admin",
        "linkerd.io/inject": "disabled",
        "sidecar.istio.io/inject": "false",
        "app.kubernetes.io/name": "another",
        "chaski.dev/route-hash": "0",
    }
    document = dict(route_of(workers={"serviceAccountName": "mine"}).document)
    objects = []
    for metadata in ({}, {"annotations": hostile, "labels": hostile, "ownerReferences": [{"kind": "Pod"}]}):
        route = load_route({**document, "metadata": {**document["metadata"], **metadata}})
        objects.append(desired_objects(resolved_of(route), "uid", replace(PODS, network_policy=True), ToolPods("t")))
    plain, marked = objects
    assert [each["metadata"] for each in marked] == [each["metadata"] for each in plain]
    assert [each.get("spec") for each in marked] == [each.get("spec") for each in plain]
    pods = [each["spec"]["template"]["metadata"] for each in marked if each["kind"] == "Deployment"]
    assert {name for each in pods for name in each["annotations"]} == {ROUTE_HASH}


@pytest.mark.promise(14)
def test_each_namespace_has_a_role_of_its_own() -> None:
    """For workers and replays; a role that changes rolls the worker Pods, since IRSA gives it to new Pods only."""
    named = WorkerPodTemplate("i", role_arn="arn:worker-{namespace}", role_arns={"team-b": "arn:other"})
    replays = ToolPods("t", role_arn="arn:replay-{namespace}", role_arns={"team-b": "arn:other-replay"})

    def made(namespace: str) -> tuple[list[str], str]:
        route = replace(route_of("x"), namespace=namespace)
        objects = desired_objects(resolved_of(route), "uid", named, replays)
        accounts = [each["metadata"] for each in objects if each["kind"] == "ServiceAccount"]
        pods = next(each["spec"]["template"] for each in objects if each["kind"] == "Deployment")
        roles = [account["annotations"]["eks.amazonaws.com/role-arn"] for account in accounts]
        return roles, pods["metadata"]["annotations"]["chaski.dev/aws-role-hash"]

    roles, first = made("team-a")
    assert roles == ["arn:worker-team-a", "arn:replay-team-a"]
    roles, second = made("team-b")
    assert roles == ["arn:other", "arn:other-replay"]
    assert first != second
    (plain,) = objects_of("ServiceAccount", WorkerPodTemplate("i", role_arns={"team-b": "arn:other"}))
    assert (
        "annotations" not in plain["metadata"] or "eks.amazonaws.com/role-arn" not in plain["metadata"]["annotations"]
    )


def test_replays_have_their_own_account() -> None:
    """With its own role: workers may not read dead letters. Without an image for replays nothing is created."""

    def made(tools: ToolPods | None) -> list[tuple[str, str]]:
        objects = desired_objects(resolved_of(route_of("x")), "uid", WorkerPodTemplate("i"), tools)
        return [
            (each["kind"], each["metadata"]["name"]) for each in objects if each["metadata"]["name"].endswith(".replay")
        ]

    assert made(None) == []
    assert made(ToolPods("t")) == [("ServiceAccount", "chaski-x.replay")]
    shut = ToolPods("t", role_arn="arn:x", network_policy=True)
    assert made(shut) == [("ServiceAccount", "chaski-x.replay"), ("NetworkPolicy", "chaski-x.replay")]
    account, policy = (
        each
        for each in desired_objects(resolved_of(route_of("x")), "uid", WorkerPodTemplate("i"), shut)
        if each["metadata"]["name"].endswith(".replay")
    )
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == "arn:x"
    labels = {"app.kubernetes.io/name": "chaski-replay", "chaski.dev/replayed-route": "x"}
    assert policy["spec"]["podSelector"] == {"matchLabels": labels}


def test_secrets_are_mounted_once_by_name() -> None:
    """Signing keys and client certificates, even if two rules use the same Secret."""
    allow = [{"name": n, "url": "https://a.example/", "clientCertSecretName": "cert.one"} for n in ("a", "b")]
    (first, *_) = objects_of("Deployment", signing={"secretName": "keys"}, targets={"allow": allow})
    pod = first["spec"]["template"]["spec"]
    assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == ["keys", "cert.one"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert sorted(mounts.values()) == ["/etc/chaski/route", "/etc/chaski/secrets/cert.one", "/etc/chaski/secrets/keys"]
    assert set(mounts) == {each["name"] for each in pod["volumes"]}


@pytest.mark.promise(9)
def test_a_rules_signing_keys_are_mounted_where_needed_and_their_lack_stops_no_other_rule() -> None:
    """The route's Secret only where a rule needs it."""

    def mounted(*own: str, **spec: Any) -> dict[str, bool]:
        allow = [
            {"name": f"r{n}", "url": "https://a.example/", "signing": {"secretName": s}} for n, s in enumerate(own)
        ]
        (first, *_) = objects_of("Deployment", targets={"allow": [*allow, *spec.pop("others", [])]}, **spec)
        volumes = first["spec"]["template"]["spec"]["volumes"]
        return {v["secret"]["secretName"]: v["secret"].get("optional", False) for v in volumes if "secret" in v}

    other = {"name": "other", "url": "https://b.example/"}
    assert mounted("x", "y", signing={"secretName": "keys"}) == {"x": True, "y": True}
    assert mounted("x", "keys", others=[other], signing={"secretName": "keys"}) == {"x": True, "keys": False}
    assert mounted("x", others=[other]) == {"x": True}


def _with_auth(name: str, **auth: Any) -> dict[str, Any]:
    return {"name": name, "url": "https://a.example/", "auth": auth}


@pytest.mark.promise(14)
def test_the_secrets_and_tokens_of_credentials_are_mounted_into_workers_only() -> None:
    """A missing one stops no other rule; the sweeper, which calls no target, has none."""
    allow = [
        _with_auth("headers", headers=[{"name": "X-Key", "secretName": "keys.crm", "key": "k"}]),
        _with_auth("oauth2", oauth2={"tokenURL": "https://id.example/token", "secretName": "client"}),
        _with_auth("token", serviceAccountToken={"audience": "crm"}),
        _with_auth("longer", serviceAccountToken={"audience": "erp", "expirationSeconds": 7200}),
        _with_auth("aws", awsSigV4={"service": "lambda", "region": "eu-central-1"}),
    ]
    (first, *_) = objects_of("Deployment", targets={"allow": allow})
    pod = first["spec"]["template"]["spec"]
    secrets = {v["secret"]["secretName"]: v["secret"].get("optional") for v in pod["volumes"] if "secret" in v}
    assert secrets == {"keys.crm": True, "client": True}
    tokens = [v["projected"]["sources"] for v in pod["volumes"] if "projected" in v]
    assert tokens == [
        [{"serviceAccountToken": {"audience": "crm", "expirationSeconds": 3600, "path": "token"}}],
        [{"serviceAccountToken": {"audience": "erp", "expirationSeconds": 7200, "path": "token"}}],
    ]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert sorted(mounts.values()) == [
        "/etc/chaski/route",
        "/etc/chaski/secrets/_tokens/longer",
        "/etc/chaski/secrets/_tokens/token",
        "/etc/chaski/secrets/client",
        "/etc/chaski/secrets/keys.crm",
    ]
    assert set(mounts) == {each["name"] for each in pod["volumes"]}
    assert pod["automountServiceAccountToken"] is False
    resolved = resolved_of(route_of(targets={"allow": allow}))
    swept = pod_template(sweeper_of(resolved), resolved, WorkerPodTemplate("i"))["spec"]
    assert [each for each in swept["volumes"] if "secret" in each or "projected" in each] == []


def test_pods_run_as_a_fixed_user_or_as_the_clusters() -> None:
    """OpenShift's restricted-v2 admits only ids of the namespace's range, so they can be left out; never the rest."""

    def made(common: PodSettings) -> dict[str, Any]:
        (first, *_) = objects_of("Deployment", WorkerPodTemplate("i", common=common))
        context: dict[str, Any] = first["spec"]["template"]["spec"]["securityContext"]
        return context

    fixed = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert made(PodSettings()) == fixed | {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    assert made(PodSettings(run_as_user=None, run_as_group=None, fs_group=None)) == fixed
    assert made(PodSettings(1000, 0, None)) == fixed | {"runAsUser": 1000, "runAsGroup": 0}


@pytest.mark.promise(14)
def test_names_with_a_dot_are_looked_up_as_they_are_first() -> None:
    """Otherwise a Service `com` of the namespace could answer for `stripe.com`."""
    for each in objects_of("Deployment"):
        assert each["spec"]["template"]["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    (other, *_) = objects_of("Deployment", WorkerPodTemplate("i", common=PodSettings(ndots=5)))
    assert other["spec"]["template"]["spec"]["dnsConfig"]["options"] == [{"name": "ndots", "value": "5"}]


def test_a_ca_bundle_reaches_the_workers_in_a_config_map() -> None:
    """Apart from the route's, which may be long too. Another bundle rolls the Pods: they read it once."""

    def template(bundle: str | None, environment: dict[str, str]) -> dict[str, Any]:
        pods = WorkerPodTemplate("i", environment=environment, common=PodSettings(aws_ca_bundle=bundle))
        (first, *_) = objects_of("Deployment", pods)
        found: dict[str, Any] = first["spec"]["template"]
        return found

    pods = WorkerPodTemplate("i", common=PodSettings(aws_ca_bundle="PEM"))
    (_, bundle) = objects_of("ConfigMap", pods)
    assert (bundle["metadata"]["name"], bundle["data"]) == ("chaski-orders.aws-ca", {"ca.crt": "PEM"})
    spec = template("PEM", {})["spec"]
    (volume,) = [each for each in spec["volumes"] if each.get("configMap") == {"name": "chaski-orders.aws-ca"}]
    (container,) = spec["containers"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
    assert {"name": "AWS_CA_BUNDLE", "value": f"{mount['mountPath']}/ca.crt"} in container["env"]
    own = template("PEM", {"AWS_CA_BUNDLE": "/mine"})["spec"]["containers"][0]["env"]
    assert [each["value"] for each in own if each["name"] == "AWS_CA_BUNDLE"] == ["/mine"]
    assert template("PEM", {})["metadata"] != template("another", {})["metadata"]
    assert "aws-ca" not in str(template(None, {}))
    assert len(objects_of("ConfigMap")) == 1


def test_workers_know_their_own_addresses() -> None:
    """So that no route makes a worker call itself; in addition to the configured environment."""
    (container,) = objects_of("Deployment", WorkerPodTemplate("image:1", environment={"A": "b"}))[0]["spec"][
        "template"
    ]["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["A", "CHASKI_COUNT_QUEUES", "POD_IP", "POD_IPS"]
    assert container["env"][2]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


@pytest.mark.promise(6)
def test_no_variable_occurs_twice_and_none_replaces_the_own_addresses() -> None:
    """Of two with one name the last counts; server-side apply and Helm 4 refuse them."""
    environment = {"POD_IP": "192.0.2.1", "POD_IPS": "", "A": "b"}
    for each in objects_of("Deployment", WorkerPodTemplate("i", environment=environment)):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert [(entry["name"], entry.get("value")) for entry in container["env"]] == [
            ("A", "b"),
            ("CHASKI_COUNT_QUEUES", "false"),
            ("POD_IP", None),
            ("POD_IPS", None),
        ]


def test_a_configured_value_reaches_the_container_as_it_is() -> None:
    """A password of a proxy may contain `$$` or `$(NAME)`, which the kubelet would expand."""
    given = {"A": "b", "CHASKI_COUNT_QUEUES": "true", "HTTP_PROXY": "http://user:pa$$w$(A)rd$@proxy.example"}
    (container,) = objects_of("Deployment", WorkerPodTemplate("image:1", environment=given))[0]["spec"]["template"][
        "spec"
    ]["containers"]
    assert environment_of(each for each in container["env"] if "value" in each) == given
    assert not any("$" in each for each in container["command"])


def test_a_route_that_no_configmap_holds_is_named() -> None:
    """Characters that are written as four in YAML are allowed in a bundle of certificates."""

    def objects(count: int) -> list[dict[str, Any]]:
        bundle = "-----BEGIN CERTIFICATE-----\n" + "\x01" * 16_350
        allow = [{"name": f"t{n}", "url": "https://a.example/", "caBundle": bundle} for n in range(count)]
        return desired_objects(resolved_of(route_of(targets={"allow": allow})), "uid", PODS)

    assert oversize(objects(10)) is None
    error = oversize(objects(17))
    assert error is not None
    assert error.field == "spec"
    assert "but at most 1048576 are allowed" in error.message


def test_network_policy_is_created_on_request() -> None:
    """And not by default."""
    assert objects_of("NetworkPolicy") == []
    (policy,) = objects_of("NetworkPolicy", WorkerPodTemplate("i", network_policy=True))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.promise(14)
def test_network_policy_admits_to_metrics_whom_the_installation_names() -> None:
    """Metrics name subjects' groups, and progress has counts: of workers and of replays."""
    peers = ({"namespaceSelector": {"matchLabels": {"chaski.dev/metrics": "true"}}},)
    pods = WorkerPodTemplate("i", network_policy=True, metrics_from=peers)
    tools = ToolPods("t", network_policy=True, metrics_from=peers)
    objects = desired_objects(resolved_of(route_of()), "uid", pods, tools)
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9090}], "from": list(peers)}]
    (policy,) = objects_of("NetworkPolicy", WorkerPodTemplate("i", network_policy=True))
    assert "from" not in policy["spec"]["ingress"][0]


def test_network_policy_allows_egress_to_the_ports_of_the_rules() -> None:
    """And of their token endpoints. Web ports always, for AWS; a canary's sink is an ordinary target."""
    urls = [
        "http://chaski-canary.chaski-system.svc:8082/",
        "https://*.shop.example:8443/a/",
        "http://[fd00::1]:99/",
        "https://a.example/",
    ]
    allow = [{"name": f"t{number}", "url": url} for number, url in enumerate(urls)]
    oauth2 = {"tokenURL": "http://id.team.svc:9443/token", "secretName": "client", "cidrs": ["10.0.0.0/8"]}
    allow.append(_with_auth("oauth2", oauth2=oauth2))
    (policy,) = objects_of("NetworkPolicy", WorkerPodTemplate("i", network_policy=True), targets={"allow": allow})
    (anywhere,) = [rule for rule in policy["spec"]["egress"] if {"namespaceSelector": {}} in rule.get("to", [])]
    assert [each["port"] for each in anywhere["ports"]] == [80, 99, 443, 8082, 8443, 9443]
    blocks = [each["ipBlock"] for each in anywhere["to"] if "ipBlock" in each]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in blocks


def test_network_policy_allows_egress_to_endpoints_and_proxies() -> None:
    """At their ports; of replays too. An invalid URL, which the SDK refuses, opens nothing."""
    environment = {
        "AWS_ENDPOINT_URL_SQS": "http://localstack.aws:4566",
        "https_proxy": "http://proxy.internal:3128",
        "HTTP_PROXY": "http://[bad",
        "OTHER": "http://x:1",
    }
    pods = WorkerPodTemplate("i", environment=environment, network_policy=True)
    tools = ToolPods("t", environment=environment, network_policy=True)
    policies = [
        each for each in desired_objects(resolved_of(route_of()), "uid", pods, tools) if each["kind"] == "NetworkPolicy"
    ]
    assert len(policies) == 2
    for policy in policies:
        (anywhere,) = [rule for rule in policy["spec"]["egress"] if {"namespaceSelector": {}} in rule.get("to", [])]
        assert [each["port"] for each in anywhere["ports"]] == [80, 443, 3128, 4566]


def test_no_two_deployments_share_a_name() -> None:
    """Even with hyphens in routes and queues, and a queue called retry."""
    pairs = [("a", "b-c"), ("a-b", "c"), ("a", "b"), ("a", "retry"), ("a-b", "retry"), ("a", "b-retry")]
    names = [consumer_name(*pair) for pair in pairs] + [retry_name("a"), retry_name("a-b-x")]
    assert len(set(names)) == len(names)
    assert consumer_name("orders", "messages") == "chaski-orders-messages"


def test_workers_request_resources_unless_the_route_has_others() -> None:
    """Without requests the Pods would be evicted first; limits alone are requests too, so the route's replace all."""
    for spec, expected in (
        ({}, {"requests": {"cpu": "100m", "memory": "160Mi"}}),
        ({"workers": {"nodeSelector": {"a": "b"}}}, {"requests": {"cpu": "100m", "memory": "160Mi"}}),
        ({"workers": {"resources": {"limits": {"memory": "64Mi"}}}}, {"limits": {"memory": "64Mi"}}),
    ):
        for each in objects_of("Deployment", **spec):
            assert each["spec"]["template"]["spec"]["containers"][0]["resources"] == expected
    (each, *_) = objects_of("Deployment", WorkerPodTemplate("i", defaults={"resources": {}}))
    assert "resources" not in each["spec"]["template"]["spec"]["containers"][0]


DEFAULTS: dict[str, Any] = {
    "labels": {"team": "platform", "tier": "x"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "priorityClassName": "low",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpread": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
}


def test_pods_have_the_defaults_and_the_route_takes_precedence() -> None:
    """Labels and annotations one by one; no label makes a Pod another Deployment's, no annotation hides a change."""
    own: dict[str, Any] = {
        "labels": {"team": "shop"},
        "annotations": {"a": "b"},
        "priorityClassName": "high",
        "topologySpread": [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
    }
    pods = WorkerPodTemplate("i", defaults=DEFAULTS | {"labels": {**DEFAULTS["labels"], "chaski.dev/queue": "other"}})
    for made in objects_of("Deployment", pods, workers=own):
        template, selector = made["spec"]["template"], made["spec"]["selector"]["matchLabels"]
        labels = {"team": "shop", "tier": "x", "chaski.dev/queue": "other"} | selector
        assert template["metadata"]["labels"] == labels
        annotations = template["metadata"]["annotations"]
        assert (annotations["a"], annotations["sidecar.istio.io/inject"]) == ("b", "false")
        assert ROUTE_HASH in annotations
        spec = template["spec"]
        assert spec["priorityClassName"] == "high"
        for name in ("nodeSelector", "tolerations", "affinity"):
            assert spec[name] == DEFAULTS[name]
        (spread,) = spec["topologySpreadConstraints"]
        assert spread == own["topologySpread"][0] | {"labelSelector": {"matchLabels": selector}}
    (made, *_) = objects_of("Deployment", pods)
    (spread,) = made["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"]) == ("rack", 2)
