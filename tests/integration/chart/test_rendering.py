"""The rendered objects: valid for a real API server, with minimal permissions, compliant with restricted namespaces."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaski_operator.command.pod_defaults import pod_defaults
from support.kube.api_server import KubeApi
from support.kube.charts import CHART, HELMS, ROOT, conform, helm, of_kind, render
from support.kube.expansion import expand

pytestmark = pytest.mark.cluster

NO_PEER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "none"}}}]
_ROLE = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/chaski"}
_PROXY = [{"podSelector": {"matchLabels": {"app": "oauth2-proxy"}}}]
CONSOLE = {"console": {"enabled": True, "auth": {"existingSecret": "console-users"}}}
#: SecurityContextConstraints restricted-v2: the cluster chooses user and groups.
OPENSHIFT: dict[str, Any] = {
    "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
    "canary": {"enabled": True, "routes": ["helpdesk/conversations"]},
    **CONSOLE,
}
GOVCLOUD: dict[str, Any] = {
    "aws": {
        "region": "us-gov-west-1",
        "useFipsEndpoint": True,
        "useDualStackEndpoint": True,
        "caBundle": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "proxy": {"url": "http://proxy.internal:3128", "noProxy": [".internal"]},
    }
}
HARDENED: dict[str, Any] = yaml.safe_load((CHART / "values-hardened.yaml").read_text(encoding="utf-8"))
_FOREIGN = ("monitoring.coreos.com", "gateway.networking.k8s.io")
GATEWAY = {"name": "public", "namespace": "gateways", "sectionName": "https"}
_SPREAD = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
_PLACED: dict[str, Any] = {
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpread": _SPREAD,
    "podAnnotations": {"a": "$(b)"},
    "podLabels": {"c": "d", "team": "delivery"},
}
_EXTRA: dict[str, Any] = {
    **_PLACED,
    "deploymentAnnotations": {"e": "f"},
    "extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "extraVolumes": [{"name": "more", "configMap": {"name": "more"}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
}
EXTRAS: dict[str, Any] = {
    "commonLabels": {"team": "platform", "example.com/cost-center": "4711"},
    "operator": {**_EXTRA, "extraArgs": ["--resync-seconds=120"]},
    "ingest": {**_EXTRA, "extraArgs": ["--log-format=json"]},
    "console": {**CONSOLE["console"], **_EXTRA, "extraArgs": ["--log-format=text"]},
    "canary": {"enabled": True, "routes": ["a/b"], **_EXTRA, "extraArgs": ["--interval=5"]},
    "workers": {**_PLACED, "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
}
MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaced": {"watchNamespaces": ["team-a", "team-b"], "ingest": {"autoscaling": {"enabled": False}}},
    "monitored": {
        "metrics": {
            "serviceMonitor": {"enabled": True},
            "podMonitor": {"enabled": True, "labels": {"a": "b"}},
            "prometheusRule": {"enabled": True, "runbooks": "https://docs.example/runbooks"},
            "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Chaski"}},
        }
    },
    "network policies": {
        "networkPolicy": {
            "enabled": True,
            "ingestFrom": [{"podSelector": {"matchLabels": {"app": "producer"}}}],
            "egressPorts": [443],
        },
        "workers": {"networkPolicy": True},
    },
    "canary": {"canary": {"enabled": True, "routes": ["helpdesk/conversations", "billing/invoices"]}},
    "canary over HTTPS": {
        "canary": {"enabled": True, "routes": ["helpdesk/conversations"]},
        "ingest": {"tls": {"secretName": "ingest-tls"}},
    },
    "console": {
        "console": {
            "enabled": True,
            "auth": {"existingSecret": "console-users"},
            "readOnly": True,
            "prometheusUrl": "http://prometheus.monitoring:9090",
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "host": "chaski.example",
                "tlsSecretName": "chaski-tls",
                "annotations": {"a": "b"},
            },
        },
        "networkPolicy": {"enabled": True},
        "watchNamespaces": ["team-a", "team-b"],
    },
    "console behind a proxy": {
        "console": {
            "enabled": True,
            "auth": {"mode": "header", "header": "X-Auth-Request-User", "proxyFrom": _PROXY},
            "serviceAccount": {"annotations": _ROLE},
            "extraEnv": [{"name": "A", "value": "b"}],
        },
        "aws": {"region": "eu-west-1"},
    },
    "no ingest": {"ingest": {"enabled": False}},
    "OpenShift": OPENSHIFT,
    "GovCloud": GOVCLOUD | {"networkPolicy": {"enabled": True}, **CONSOLE},
    "no RBAC, no CRDs": {"rbac": {"create": False}, "crds": {"install": False}},
    "aws": {
        "aws": {
            "region": "eu-west-1",
            "kmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "tags": {"team": "platform", "cost-center": "4711"},
            "endpoints": {"sqs": "http://sqs:1", "dynamodb": "http://db:1", "sts": "http://s:1"},
        },
        "operator": {"serviceAccount": {"annotations": _ROLE}, "extraEnv": [{"name": "A", "value": "b"}]},
        "ingest": {"serviceAccount": {"create": False, "name": "mine"}, "extraEnv": [{"name": "A", "value": "b"}]},
        "workers": {
            "roleArn": "arn:aws:iam::111122223333:role/chaski-worker-{namespace}",
            "roleArns": {"team-b": "arn:aws:iam::111122223333:role/other"},
            "env": {"A": "b"},
        },
        "tools": {"roleArns": {"team-b": "arn:aws:iam::111122223333:role/other-replay"}},
    },
    "scheduling": {
        "imagePullSecrets": [{"name": "registry"}],
        "workers": {"imagePullSecrets": [{"name": "registry"}]},
        **{
            part: {
                "priorityClassName": "system-cluster-critical",
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "a", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "podAnnotations": {"a": "b"},
                "podLabels": {"c": "d"},
                "image": {"digest": "sha256:" + "0" * 64},
            }
            for part in ("operator", "ingest")
        },
        "tools": {"image": {"digest": "sha256:" + "0" * 64}},
        "console": {
            **CONSOLE["console"],
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
        },
    },
    "everything added": EXTRAS,
    "reached from outside": {
        "ingest": {
            "ingress": {"enabled": True, "host": "in.example", "tlsSecretName": "tls", "annotations": {"a": "b"}},
            "httpRoute": {
                "enabled": True,
                "parentRefs": [GATEWAY],
                "hostnames": ["in.example"],
                "annotations": {"a": "b"},
            },
        },
        "console": {
            **CONSOLE["console"],
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        },
    },
    "hardened, everything added": HARDENED
    | {part: {**HARDENED.get(part, {}), **each} for part, each in EXTRAS.items()},
    "OpenShift, everything added": OPENSHIFT | EXTRAS,
    "keys over HTTPS": {"ingest": {"auth": "keys", "tls": {"secretName": "ingest-tls"}}},
    "hardened": HARDENED,
    "open": {
        "ingest": {"service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}}, "topologySpread": []}
    },
}
matrix = pytest.mark.parametrize("values", MATRIX.values(), ids=list(MATRIX))


def pod_specs(objects: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """The spec of every Pod of the objects."""
    pods = [each["spec"] for each in of_kind(objects, "Pod")]
    return pods + [each["spec"]["template"]["spec"] for each in of_kind(objects, "Deployment", "Job")]


def rules(objects: list[dict[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """Every rule of the Roles among the objects."""
    return [rule for each in of_kind(objects, *(kinds or ("Role", "ClusterRole"))) for rule in each["rules"]]


@matrix
def test_the_objects_are_valid_by_the_servers_schemas(values: dict[str, Any], schemas: Path) -> None:
    """With kubeconform -strict: unknown fields are faults, also in ChaskiRoutes."""
    assert conform(schemas, render(values)) == ""


def test_kubeconform_refuses_an_unknown_field(schemas: Path) -> None:
    """Otherwise it would accept everything."""
    (route,) = of_kind(render(), "ChaskiRoute")
    wrong = json.loads(json.dumps(route))
    wrong["spec"]["queue"] = wrong["spec"].pop("queues")
    assert "queue" in conform(schemas, [wrong])


@matrix
def test_helm_lint_finds_nothing(values: dict[str, Any]) -> None:
    """Strict: warnings are errors."""
    for each in HELMS:
        linted = helm("lint", "--strict", values=values, by=each)
        assert linted.returncode == 0, linted.stdout + linted.stderr


@matrix
def test_each_helm_renders_the_same_objects(values: dict[str, Any]) -> None:
    """So that the other tests may use any of them."""
    old, new = (sorted(render(values, by=each), key=json.dumps) for each in HELMS)
    assert old == new


@matrix
def test_a_real_api_server_accepts_the_objects(values: dict[str, Any], kube: KubeApi) -> None:
    """In a namespace that enforces restricted Pod security, with the server's defaults, CEL rules and admission."""
    namespace = kube.make_namespace("chart")
    kube.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    given = values | {"watchNamespaces": [namespace]} if "watchNamespaces" in values else values
    objects = [each for each in render(given, namespace) if each["apiVersion"].split("/")[0] not in _FOREIGN]
    for each in of_kind(objects, "Pod"):
        each["spec"].pop("serviceAccountName")  # the hook of the test creates it, and this is a dry run
    bundle = {"apiVersion": "v1", "kind": "List", "items": objects}
    arguments = (
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--force-conflicts",
        "-n",
        namespace,
    )
    ran = kube.try_kubectl(*arguments, "-f", "-", document=bundle)
    assert ran.returncode == 0, ran.stderr


@matrix
def test_every_pod_complies_with_restricted_namespaces(values: dict[str, Any]) -> None:
    """Pods and containers; the root file system is read-only."""
    specs = pod_specs(render(values))
    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            names = [each["name"] for each in container.get("env", [])]
            assert len(names) == len(set(names)), "Helm 4 refuses an environment variable that is named twice"


def container(objects: list[dict[str, Any]], component: str) -> Mapping[str, Any]:
    """The container of a component's Deployment."""
    (found,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == f"chaski-{component}"]
    made: Mapping[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return made


@pytest.mark.parametrize("user", [None, 1_000_680_000])
def test_user_and_groups_are_those_of_the_values_or_of_the_cluster(user: int | None) -> None:
    """For all Pods, workers and replays included; the passwords of a console without a group can be read by its user."""
    ids = ("runAsUser", "runAsGroup", "fsGroup")
    objects = render(OPENSHIFT | {"podSecurityContext": dict.fromkeys(ids, user)})
    specs = pod_specs(objects)
    assert len(specs) == 5
    given = set() if user is None else {("runAsUser", user), ("runAsGroup", user)}
    for spec in specs:
        context = spec["securityContext"]
        assert {(name, context[name]) for name in ids[:2] if name in context} == given
        assert all(not set(ids) & set(each["securityContext"]) for each in spec["containers"])
    flags = [each for each in container(objects, "operator")["args"] if "run-as" in each or "fs-group" in each]
    shown = "none" if user is None else user
    assert flags == [f"--worker-run-as-user={shown}", f"--worker-run-as-group={shown}", f"--worker-fs-group={shown}"]
    (passwords,) = [each for spec in specs for each in spec["volumes"] if each["name"] == "passwords"]
    groups = [spec["securityContext"].get("fsGroup") for spec in specs if passwords in spec["volumes"]]
    assert (groups, passwords["secret"]["defaultMode"]) == ([user], 0o444 if user is None else 0o440)


@pytest.mark.parametrize("component", ["operator", "ingest", "console"])
def test_every_process_that_calls_aws_gets_the_whole_way_there(component: str) -> None:
    """The CA bundle as a file, whose change rolls the Pods. The metadata service of a node is never called by the proxy."""
    objects = render(GOVCLOUD | CONSOLE)
    made = container(objects, component)
    assert {each["name"]: each["value"] for each in made["env"]} == {
        "AWS_REGION": "us-gov-west-1",
        "AWS_DEFAULT_REGION": "us-gov-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_CA_BUNDLE": "/etc/chaski/aws-ca/ca.crt",
        "HTTPS_PROXY": "http://proxy.internal:3128",
        "NO_PROXY": "169.254.169.254,.internal",
    }
    (mount,) = [each for each in made["volumeMounts"] if each["mountPath"] == "/etc/chaski/aws-ca"]
    (bundle,) = [each for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] == "chaski-aws-ca"]
    assert bundle["data"] == {"ca.crt": GOVCLOUD["aws"]["caBundle"]}
    (deployment,) = [e for e in of_kind(objects, "Deployment") if e["metadata"]["name"] == f"chaski-{component}"]
    template = deployment["spec"]["template"]
    volume = {"name": mount["name"], "configMap": {"name": bundle["metadata"]["name"]}}
    assert volume in template["spec"]["volumes"]
    assert template["metadata"]["annotations"].keys() == {"checksum/aws-ca"}
    assert template["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    assert "aws-ca" not in json.dumps(render(CONSOLE))


@pytest.mark.parametrize("component", ["operator", "ingest", "console", "canary"])
def test_every_deployment_takes_the_additional_values(component: str) -> None:
    """And keeps what the chart sets: its own arguments, volumes, labels and security."""
    objects, plain = render(EXTRAS), render({"canary": {"enabled": True, "routes": ["a/b"]}, **CONSOLE})
    (made,) = [e for e in of_kind(objects, "Deployment") if e["metadata"]["name"] == f"chaski-{component}"]
    template, found = made["spec"]["template"], container(objects, component)
    assert made["metadata"]["annotations"] == {"e": "f"}
    assert template["metadata"]["annotations"]["a"] == "$(b)"
    labels = template["metadata"]["labels"]
    assert (labels["c"], labels["team"], labels["example.com/cost-center"]) == ("d", "delivery", "4711")
    selector = made["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    assert not {"team", "c"} & selector.keys()
    spec = template["spec"]
    for name in ("priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert spec[name] == _PLACED[name]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread == _SPREAD[0] | {"labelSelector": {"matchLabels": selector}, "matchLabelKeys": ["pod-template-hash"]}
    assert _EXTRA["extraVolumes"][0] in spec["volumes"]
    assert _EXTRA["extraVolumeMounts"][0] in found["volumeMounts"]
    assert _EXTRA["extraEnv"][0] in found["env"]
    assert found["args"][-1] == EXTRAS[component]["extraArgs"][0]
    before = container(plain, component)
    assert {each for each in before["args"] if "--worker-pod" not in each} <= set(found["args"])
    assert all(each in found["volumeMounts"] for each in before["volumeMounts"])
    assert found["securityContext"] == before["securityContext"]


@matrix
def test_common_labels_are_on_every_object(values: dict[str, Any]) -> None:
    """Except the CRDs, which releases share, and Pods of the same name keep their selectors."""
    objects = render(values | {"commonLabels": {"team": "platform"}})
    lacking = [
        f"{each['kind']} {each['metadata']['name']}"
        for each in objects
        if each["kind"] != "CustomResourceDefinition" and "team" not in each["metadata"].get("labels", {})
    ]
    assert lacking == []


def test_workers_get_the_values_as_one_argument() -> None:
    """As the operator reads it, after the kubelet has expanded variables."""
    made = container(render(EXTRAS), "operator")
    (given,) = [each for each in (expand(arg, {}) for arg in made["args"]) if each.startswith("--worker-pod=")]
    found = pod_defaults(given.partition("=")[2])
    named = {"podLabels": "labels", "podAnnotations": "annotations"}
    assert found == {named.get(name, name): value for name, value in EXTRAS["workers"].items()}
    none = container(render({"workers": {"resources": {"requests": None}}}), "operator")["args"]
    assert any('"resources":{}' in each for each in none)
    (given,) = [each for each in container(render(), "operator")["args"] if each.startswith("--worker-pod=")]
    assert pod_defaults(given.partition("=")[2]) == {
        "resources": {"requests": {"cpu": "100m", "memory": "160Mi"}},
        "topologySpread": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}
            for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
    }


def test_ingest_and_console_are_reached_by_ingress_and_gateway() -> None:
    """By the Service of each, on its port; without the values neither exists."""
    objects = render(MATRIX["reached from outside"])
    (ingress,) = of_kind(objects, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (rule["host"], backend) == ("in.example", {"name": "chaski-ingest", "port": {"name": "http"}})
    assert ingress["spec"]["tls"] == [{"hosts": ["in.example"], "secretName": "tls"}]
    routes = {each["metadata"]["name"]: each for each in of_kind(objects, "HTTPRoute")}
    assert routes.keys() == {"chaski-ingest", "chaski-console"}
    for name, each in routes.items():
        assert each["apiVersion"] == "gateway.networking.k8s.io/v1"
        assert each["spec"]["rules"][0]["backendRefs"] == [{"name": name, "port": 80}]
    assert routes["chaski-ingest"]["spec"]["parentRefs"] == [GATEWAY]
    assert routes["chaski-ingest"]["spec"]["hostnames"] == ["in.example"]
    assert "hostnames" not in routes["chaski-console"]["spec"]
    assert of_kind(render(CONSOLE), "Ingress", "HTTPRoute") == []


def test_metrics_of_the_console_are_scraped_by_a_service_of_their_own() -> None:
    """The ServiceMonitor selects ports called `metrics`; a Service that is exposed has none."""
    ports = {
        each["metadata"]["name"]: [port["name"] for port in each["spec"]["ports"]]
        for each in of_kind(render(CONSOLE), "Service")
    }
    assert (ports["chaski-console"], ports["chaski-console-metrics"]) == (["http"], ["metrics"])


def test_additional_variables_replace_those_of_the_chart() -> None:
    """One entry for each name; a name that is given twice is refused, because it is not clear which one counts."""
    extra = [{"name": "AWS_USE_FIPS_ENDPOINT", "value": "false"}, {"name": "A", "value": "b"}]
    made = container(render(GOVCLOUD | {"ingest": {"extraEnv": extra}}), "ingest")["env"]
    assert [each for each in made if each["name"] in {"AWS_USE_FIPS_ENDPOINT", "A"}] == extra
    refused = helm("template", values={"console": {**CONSOLE["console"], "extraEnv": [extra[1], extra[1]]}})
    assert refused.returncode != 0
    assert "console.extraEnv names A twice" in refused.stderr


def test_no_process_is_bound_to_one_family_of_addresses() -> None:
    """A kubelet of an IPv6 cluster probes the Pod's IPv6 address."""
    values = OPENSHIFT | GOVCLOUD
    assert "0.0.0.0" not in json.dumps(of_kind(render(values), "Deployment", "Pod", "ConfigMap"))


def test_a_release_and_namespaces_may_be_numbers(schemas: Path) -> None:
    """YAML reads 12 as a number, which is not a valid name or label."""
    values = {
        "watchNamespaces": ["123", "456"],
        "nameOverride": "7",
        "canary": {"enabled": True, "routes": ["123/a"]},
        "networkPolicy": {"enabled": True},
        "metrics": {
            "serviceMonitor": {"enabled": True},
            "podMonitor": {"enabled": True},
            "dashboards": {"enabled": True},
        },
        **GOVCLOUD,
        **CONSOLE,
    }
    ran = helm("template", "--namespace", "123", "--name-template", "12", values=values)
    assert ran.returncode == 0, ran.stderr
    objects = [document for document in yaml.safe_load_all(ran.stdout) if document]
    assert conform(schemas, objects) == ""
    for each in objects:
        metadata = each["metadata"]
        names = [metadata["name"], *metadata.get("labels", {}).values(), metadata.get("namespace", "")]
        assert [name for name in names if not isinstance(name, str)] == []


@matrix
def test_no_role_covers_secrets_or_has_wildcards(values: dict[str, Any]) -> None:
    """No wildcard, no Secrets, no escalation."""
    granted = rules(render(values))
    words = set(itertools.chain.from_iterable((*r["apiGroups"], *r["resources"], *r["verbs"]) for r in granted))
    assert words & {"*", "secrets", "impersonate", "escalate", "bind", "roles", "clusterroles", "nodes"} == set()


def test_each_component_has_its_own_permissions() -> None:
    """Ingest reads routes and reviews tokens, and can't change anything."""
    objects = render()
    assert not any("finalizer" in each["metadata"]["name"] for each in of_kind(objects, "ClusterRole"))
    by_name = {each["metadata"]["name"]: each["rules"] for each in of_kind(objects, "ClusterRole")}
    assert {verb for rule in by_name["chaski-ingest"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {name for rule in by_name["chaski-ingest"] for name in rule["resources"]} == {"chaskiroutes"}
    (reviews,) = by_name["chaski-chaski-system-token-reviewer"]
    assert (reviews["resources"], reviews["verbs"]) == (["tokenreviews"], ["create"])


def test_the_default_name_of_an_installation_is_unique() -> None:
    """The operator uses the UID of kube-system and may read only this namespace; a name is passed on."""

    def arguments(objects: list[dict[str, Any]]) -> list[str]:
        (operator,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "chaski-operator"]
        return [
            each for each in operator["spec"]["template"]["spec"]["containers"][0]["args"] if "installation" in each
        ]

    without = {"operator": {"policies": False}}
    objects = render(without)
    assert arguments(objects) == []
    (rule,) = [rule for rule in rules(objects) if "namespaces" in rule["resources"]]
    assert (rule["resourceNames"], rule["verbs"]) == (["kube-system"], ["get"])
    named = render({"installation": "prod-eu", **without})
    assert arguments(named) == ["--installation=prod-eu"]
    assert not [rule for rule in rules(named) if "namespaces" in rule["resources"]]


def test_a_namespaced_installation_has_permissions_in_its_namespaces_only() -> None:
    """Cluster-wide are only the roles for users, token reviews, policies, the cluster's UID, and the end of a namespace's routes."""
    objects = render(MATRIX["namespaced"])
    wide = {each["metadata"]["name"] for each in of_kind(objects, "ClusterRoleBinding")}
    few = {f"chaski-chaski-system-{each}" for each in ("token-reviewer", "installation", "policies")}
    assert wide == few | {"chaski-chaski-system-finalizer"}
    (finalizer,) = [each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"].endswith("-finalizer")]
    routes = {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes"], "verbs": ["get", "list", "patch"]}
    assert finalizer["rules"] == [routes]
    without = render({**MATRIX["namespaced"], "rbac": {"finalizeRoutes": False}})
    assert {each["metadata"]["name"] for each in of_kind(without, "ClusterRoleBinding")} == few
    where = {(each["metadata"]["name"], each["metadata"]["namespace"]) for each in of_kind(objects, "Role")}
    served = {(name, namespace) for name in ("chaski-operator", "chaski-ingest") for namespace in ("team-a", "team-b")}
    own = {(name, "chaski-system") for name in ("chaski-operator-lease", "chaski-ingest-peers")}
    assert where == served | own


@pytest.mark.promise(7)
def test_an_installation_without_a_name_may_read_the_clusters_uid() -> None:
    """One Namespace; no permission if a name is given."""
    (role,) = [each for each in of_kind(render(), "ClusterRole") if each["metadata"]["name"].endswith("-installation")]
    expected = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
    assert role["rules"] == [expected]
    named = {"installation": "staging", "operator": {"policies": False}}
    assert [each for each in rules(render(named)) if "namespaces" in each["resources"]] == []
    (operator,) = [each for each in of_kind(render(named), "Deployment") if "operator" in each["metadata"]["name"]]
    assert "--installation=staging" in operator["spec"]["template"]["spec"]["containers"][0]["args"]
    (operator,) = [each for each in of_kind(render(), "Deployment") if "operator" in each["metadata"]["name"]]
    assert not any("installation" in each for each in operator["spec"]["template"]["spec"]["containers"][0]["args"])


def test_view_may_read_routes_and_edit_may_write_them_only_if_enabled() -> None:
    """The author of a route decides what is called."""

    def aggregated(values: dict[str, Any]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for role in of_kind(render(values), "ClusterRole"):
            for label in role["metadata"]["labels"]:
                if "aggregate-to" in label:
                    found.setdefault(label.rpartition("/")[2], []).append(role["metadata"]["name"])
        return found

    assert aggregated({}) == {}
    assert aggregated({"rbac": {"aggregateView": True}}) == {"aggregate-to-view": ["chaski-route-viewer"]}
    editors = ["chaski-route-editor", "chaski-replayer"]
    wanted = {"aggregate-to-edit": editors, "aggregate-to-admin": editors}
    assert aggregated({"rbac": {"aggregateEdit": True}}) == wanted


def test_only_the_autoscaler_sets_the_number_of_pods() -> None:
    """Every upgrade would reset a Deployment with `replicas`."""

    def ingest(values: dict[str, Any]) -> Mapping[str, Any]:
        deployments = of_kind(render(values), "Deployment")
        return next(each for each in deployments if each["metadata"]["name"] == "chaski-ingest")["spec"]

    assert "replicas" not in ingest({})
    assert ingest({"ingest": {"autoscaling": {"enabled": False}, "replicas": 3}})["replicas"] == 3


def test_an_argument_is_passed_on_as_it_is() -> None:
    """The kubelet expands `$(NAME)` and `$$` in arguments."""
    values = {"workers": {"env": {"TOKEN": "a$$b$(HOSTNAME)$"}}}
    (operator,) = (each for each in of_kind(render(values), "Deployment") if "operator" in each["metadata"]["name"])
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert "--worker-env=TOKEN=a$$b$(HOSTNAME)$" in [expand(each, {"HOSTNAME": "h"}) for each in container["args"]]


def operator_arguments(values: dict[str, Any]) -> list[str]:
    """The command line of the operator."""
    deployments = of_kind(render(values), "Deployment")
    operator = next(each for each in deployments if each["metadata"]["name"] == "chaski-operator")
    args: list[str] = operator["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


@pytest.mark.parametrize(
    ("ingest", "required"),
    [({}, True), ({"auth": "keys"}, True), ({"auth": "none"}, False), ({"enabled": False}, False)],
)
def test_producers_are_required_where_ingest_authenticates_them(ingest: dict[str, Any], required: bool) -> None:
    """Elsewhere a route without producers is ready: any client may send, or none by this release."""
    assert ("--no-producers-required" not in operator_arguments({"ingest": ingest})) == required


def test_ingest_follows_its_own_pods_only() -> None:
    """They share the producers' rates: by a Role in the release's namespace, with no right to write."""
    objects = render({"watchNamespaces": ["team"]})
    ingest = next(each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "chaski-ingest")
    (argument,) = [each for each in ingest["spec"]["template"]["spec"]["containers"][0]["args"] if "--peers" in each]
    (role,) = [each for each in of_kind(objects, "Role") if each["metadata"]["name"] == "chaski-ingest-peers"]
    namespace, _, service = argument.removeprefix("--peers=").partition("/")
    assert role["metadata"]["namespace"] == namespace
    assert service in [each["metadata"]["name"] for each in of_kind(objects, "Service")]
    assert role["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    found = [each for each in rules(objects) if "endpointslices" in each["resources"]]
    assert found == role["rules"]


@pytest.mark.promise(14)
def test_the_hardened_values_close_what_the_defaults_leave_open() -> None:
    """With the teams' namespaces and digests, which only the installation knows."""
    digest = "sha256:" + "0" * 64
    images = {
        part: {**HARDENED.get(part, {}), "image": {"digest": digest}}
        for part in ("operator", "ingest", "workers", "tools")
    }
    objects = render({**HARDENED, **images, "watchNamespaces": ["team-a"]})
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "NetworkPolicy")}
    assert set(policies) == {"chaski-operator", "chaski-ingest"}
    assert all(rule.get("from") for spec in policies.values() for rule in spec["ingress"])
    assert not any(
        peer == {"namespaceSelector": {}}
        for spec in policies.values()
        for rule in spec["ingress"]
        for peer in rule["from"]
    )
    assert not any("aggregate" in str(each["metadata"]["labels"]) for each in of_kind(objects, "ClusterRole"))
    assert of_kind(objects, "ValidatingAdmissionPolicy")
    writing = [each for each in of_kind(objects, "ClusterRole") if "operator" in each["metadata"]["name"]]
    assert writing == []
    (ingest,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "chaski-ingest"]
    arguments = ingest["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--auth=kubernetes", "--tls-cert=/tls/tls.crt"} <= set(arguments)
    (service,) = [each for each in of_kind(objects, "Service") if each["metadata"]["name"] == "chaski-ingest"]
    assert [port["port"] for port in service["spec"]["ports"]] == [443]
    own = operator_arguments({**HARDENED, **images, "watchNamespaces": ["team-a"]})
    assert {"--namespace=team-a", "--worker-network-policy", "--remove-additions"} <= set(own)
    (peers,) = [each.partition("=")[2] for each in own if each.startswith("--worker-metrics-from=")]
    assert json.loads(peers) == [*HARDENED["networkPolicy"]["metricsFrom"], operator_peer(objects)]
    images_used = [c["image"] for spec in pod_specs(objects) for c in spec["containers"]]
    images_used += [each.partition("=")[2] for each in own if each.startswith(("--worker-image", "--tools-image"))]
    assert all(each.endswith(digest) for each in images_used)


def operator_peer(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The operator's Pods as a peer of a NetworkPolicy in any namespace: it asks workers for their load."""
    (operator,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "chaski-operator"]
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator["metadata"]["namespace"]}},
        "podSelector": operator["spec"]["selector"],
    }


def test_workers_metrics_are_open_to_every_pod_unless_peers_are_named() -> None:
    """As those of ingest and operator are; without a NetworkPolicy for workers there is nothing to restrict."""
    peers: dict[str, Any] = {"metricsFrom": [{"podSelector": {}}]}
    for values in ({"workers": {"networkPolicy": True}}, {"networkPolicy": peers}):
        assert not [each for each in operator_arguments(values) if each.startswith("--worker-metrics-from")]


@pytest.mark.parametrize("namespaces", [[], ["team-a", "team-b"]])
def test_the_pod_of_helm_test_is_where_helm_reads_its_log(namespaces: list[str]) -> None:
    """In the release's namespace; its route is in one that the operator serves, and ingest admits the Pod."""
    objects = render({"watchNamespaces": namespaces, "networkPolicy": {"enabled": True, "ingestFrom": NO_PEER}})
    hooks = [each for each in objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    places = {each["kind"]: each["metadata"]["namespace"] for each in hooks}
    (ingest,) = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"] == "chaski-ingest"]
    release = ingest["metadata"]["namespace"]
    served = namespaces[0] if namespaces else release
    others = dict.fromkeys(("ServiceAccount", "ConfigMap", "Service", "Pod"), release)
    assert places == {"ChaskiRoute": served, **others}
    (route,) = of_kind(hooks, "ChaskiRoute")
    assert route["spec"]["producers"] == [{"namespace": release, "serviceAccount": "chaski-test"}]
    (pod,) = of_kind(hooks, "Pod")
    admitted = [
        peer["podSelector"]["matchLabels"]
        for rule in ingest["spec"]["ingress"]
        if rule["ports"] == [{"protocol": "TCP", "port": 8080}]
        for peer in rule["from"]
        if "podSelector" in peer
    ]
    assert any(labels.items() <= pod["metadata"]["labels"].items() for labels in admitted)


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}])
def test_policies_are_read_in_the_whole_cluster_unless_disabled(values: dict[str, Any]) -> None:
    """By a role of its own, which can change nothing."""
    objects = render(values)
    (role,) = [each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"].endswith("-policies")]
    assert {name for rule in role["rules"] for name in rule["resources"]} == {"chaskipolicies", "namespaces"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert "--no-policies" not in operator_arguments(values)
    disabled = {**values, "operator": {"policies": False}}
    assert not [each for each in of_kind(render(disabled), "ClusterRole") if "policies" in each["metadata"]["name"]]
    assert "--no-policies" in operator_arguments(disabled)


def test_additions_to_workers_are_removed_only_on_request() -> None:
    """The operator has the right to either way, for orphans."""
    assert "--remove-additions" not in operator_arguments({})
    assert "--remove-additions" in operator_arguments({"operator": {"removeAdditions": True}})
    (rule,) = [each for each in rules(render()) if each["resources"] == ["deployments"]]
    assert "update" in rule["verbs"]


def test_the_operator_never_has_two_pods() -> None:
    """Not even during an upgrade."""
    deployments = of_kind(render(), "Deployment")
    spec = next(each for each in deployments if each["metadata"]["name"] == "chaski-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize(("values", "seconds"), [({}, 600), ({"operator": {"unreachableSeconds": 90}}, 90)])
def test_the_operators_liveness_limit_is_its_flag(values: dict[str, Any], seconds: int) -> None:
    """The operator reads it."""
    deployments = of_kind(render(values), "Deployment")
    spec = next(each for each in deployments if each["metadata"]["name"] == "chaski-operator")["spec"]
    assert f"--unreachable-seconds={seconds}" in spec["template"]["spec"]["containers"][0]["args"]


def test_the_operator_may_ask_ingest_what_it_put_on_queues() -> None:
    """By a token that is good for nothing else; ports, NetworkPolicies and rights fit each other; nothing of it without ingest."""
    objects = render({"networkPolicy": {"enabled": True, "metricsFrom": _PROXY}, "operator": {"idleSeconds": 120}})
    by_name = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Deployment")}
    pods = {name: spec["template"]["spec"] for name, spec in by_name.items()}
    arguments = {name: pod["containers"][0]["args"] for name, pod in pods.items()}
    assert "--activity-reader=chaski-system/chaski-operator" in arguments["chaski-ingest"]
    assert {"--idle-seconds=120", "--ingest=chaski-system/chaski-ingest-metrics"} <= set(arguments["chaski-operator"])
    (token,) = [each for each in pods["chaski-operator"]["volumes"] if each["name"] == "ingest-token"]
    projected = {"audience": "chaski-activity", "expirationSeconds": 3600, "path": "token"}
    assert token["projected"] == {"sources": [{"serviceAccountToken": projected}]}
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "NetworkPolicy")}
    labels = {name: by_name[name]["selector"] for name in ("chaski-operator", "chaski-ingest")}
    metrics = policies["chaski-ingest"]["ingress"][0]
    assert (metrics["ports"][0]["port"], metrics["from"][-1]) == (9090, {"podSelector": labels["chaski-operator"]})
    assert policies["chaski-operator"]["ingress"][0]["from"] == _PROXY
    assert {"podSelector": labels["chaski-ingest"]} in policies["chaski-operator"]["egress"][-1]["to"]
    (binding,) = [
        each for each in of_kind(objects, "RoleBinding") if each["metadata"]["name"] == "chaski-operator-ingest"
    ]
    (role,) = [each for each in of_kind(objects, "Role") if each["metadata"]["name"] == binding["roleRef"]["name"]]
    assert {name for rule in role["rules"] for name in rule["resources"]} == {"endpointslices"}
    assert "ingest" not in json.dumps(of_kind(render({"ingest": {"enabled": False}}), "Deployment"))


def test_a_digest_takes_precedence_over_a_tag() -> None:
    """So the image is exactly the reviewed one."""
    image = {"repository": "registry.example/chaski/ingest", "tag": "1.2.3", "digest": "sha256:" + "a" * 64}
    text = json.dumps(render({"ingest": {"image": image}}))
    assert f"registry.example/chaski/ingest@{image['digest']}" in text
    assert ":1.2.3" not in text


@pytest.mark.parametrize("keep", [True, False])
def test_the_crds_are_those_of_the_repository(keep: bool) -> None:
    """Upgraded with the release, and kept by default when it is uninstalled."""
    rendered = of_kind(render({"crds": {"keep": keep}}), "CustomResourceDefinition")
    for definition in rendered:
        annotations = definition["metadata"].pop("annotations", None)
        assert annotations == ({"helm.sh/resource-policy": "keep"} if keep else None)
    files = sorted((ROOT / "crds").glob("*.yaml"), reverse=True)
    assert rendered == [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]


def test_the_example_of_a_replay_is_valid(schemas: Path) -> None:
    """By the CRD's schema; a misspelled filter would select everything."""
    example = yaml.safe_load((ROOT / "examples" / "replay.yaml").read_text(encoding="utf-8"))
    assert conform(schemas, [example]) == ""
    example["spec"]["filter"]["clas"] = example["spec"]["filter"].pop("class")
    assert "clas" in conform(schemas, [example])


def test_the_replayer_role_can_not_write_routes() -> None:
    """It writes ChaskiReplays only."""
    (role,) = [each for each in of_kind(render(), "ClusterRole") if each["metadata"]["name"] == "chaski-replayer"]
    written = {name for rule in role["rules"] if "create" in rule["verbs"] for name in rule["resources"]}
    assert written == {"chaskireplays"}


def test_services_find_their_pods() -> None:
    """Every selector matches exactly the intended Pods."""
    objects = render(CONSOLE)
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(objects, "Deployment")
    }
    pods |= {each["metadata"]["name"]: each["metadata"]["labels"] for each in of_kind(objects, "Pod")}
    for service in of_kind(objects, "Service"):
        wanted = service["spec"]["selector"].items()
        found = [name for name, labels in pods.items() if wanted <= labels.items()]
        assert found == [service["metadata"]["name"].removesuffix("-metrics")]
