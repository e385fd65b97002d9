"""The console in the chart: off by default, never without authentication, with permission to read routes only."""

from typing import Any

import pytest

from integration.chart.test_rendering import CONSOLE, MATRIX
from support.kube.api_server import KubeApi
from support.kube.charts import helm, of_kind, render

pytestmark = pytest.mark.cluster

PROXIED, FULL = MATRIX["console behind a proxy"], MATRIX["console"]


def named(objects: list[dict[str, Any]], kind: str) -> Any:
    """The console's object of this kind."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == "chaski-console"]
    return found


def arguments(objects: list[dict[str, Any]]) -> list[str]:
    """Arguments of the console's container."""
    found: list[str] = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_it_is_off_by_default() -> None:
    """No Pod, no permissions, no ServiceAccount."""
    assert [each for each in render() if "console" in each["metadata"]["name"]] == []


def test_passwords_come_from_an_existing_secret() -> None:
    """Mounted read-only, readable by the Pod's group only, and named on the command line."""
    objects = render(CONSOLE)
    pod = named(objects, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if "secret" in each]
    assert volume["secret"] == {
        "secretName": "console-users",
        "defaultMode": 0o440,
        "items": [{"key": "users", "path": "users"}],
    }
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == ("/passwords", True)
    assert {"--auth=password", "--password-file=/passwords/users", "--kubernetes"} <= set(arguments(objects))
    assert of_kind(objects, "Secret") == []


def test_it_may_only_read_routes() -> None:
    """And no TokenReview; only in the served namespaces, if the values list them."""
    (rule,) = named(render(CONSOLE), "ClusterRole")["rules"]
    assert rule == {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes"], "verbs": ["get", "list", "watch"]}
    objects = render(FULL)
    roles = [each for each in of_kind(objects, "Role") if each["metadata"]["name"] == "chaski-console"]
    assert {each["metadata"]["namespace"] for each in roles} == {"team-a", "team-b"}
    assert [each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"] == "chaski-console"] == []
    assert {"--namespace=team-a", "--namespace=team-b"} <= set(arguments(objects))


def test_values_become_flags() -> None:
    """Read-only, Prometheus, the header of the proxy."""
    assert {"--read-only", "--prometheus=http://prometheus.monitoring:9090"} <= set(arguments(render(FULL)))
    proxied = arguments(render(PROXIED))
    assert {"--auth=header", "--auth-header=X-Auth-Request-User"} <= set(proxied)
    assert [each for each in proxied if "password" in each or each == "--read-only"] == []


def test_there_is_never_more_than_one_pod() -> None:
    """A second Pod would not know the sessions of the first."""
    spec = named(render(CONSOLE), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_behind_a_proxy_only_the_proxy_reaches_it() -> None:
    """Whatever `networkPolicy` says: a client that reaches the port could send any user name."""
    policy = named(render(PROXIED), "NetworkPolicy")["spec"]
    (pages,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8081]
    assert pages["from"] == PROXIED["console"]["auth"]["proxyFrom"]
    assert policy["policyTypes"] == ["Ingress"]
    with_policy = PROXIED | {"networkPolicy": {"enabled": True, "consoleFrom": [{"namespaceSelector": {}}]}}
    policy = named(render(with_policy), "NetworkPolicy")["spec"]
    (pages,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8081]
    assert pages["from"] == PROXIED["console"]["auth"]["proxyFrom"]


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://prometheus.monitoring:9090", 9090), ("http://prometheus/x", 80), ("https://p.example", 443), ("", None)],
)
def test_its_network_policy_allows_what_it_needs(url: str, port: int | None) -> None:
    """DNS, the API server, AWS, and Prometheus by the port of its address."""
    console = CONSOLE["console"] | {"prometheusUrl": url}
    policy = named(render({"console": console, "networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    ports = [[each["port"] for each in rule["ports"]] for rule in policy["egress"]]
    assert ports == [[53, 53], [443, 6443], [80], *([[port]] if port else [])]


def test_an_ingress_is_optional() -> None:
    """With its host, class and certificate."""
    assert of_kind(render(CONSOLE), "Ingress") == []
    spec = named(render(FULL), "Ingress")["spec"]
    assert spec["tls"] == [{"hosts": ["chaski.example"], "secretName": "chaski-tls"}]
    assert (spec["ingressClassName"], spec["rules"][0]["host"]) == ("nginx", "chaski.example")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (CONSOLE, "kubectl port-forward -n chaski-system service/chaski-console 8081:80"),
        (CONSOLE, "the Secret console-users"),
        (FULL, "https://chaski.example/"),
        (PROXIED, "the proxy in front of the Service chaski-console"),
    ],
)
def test_the_notes_say_how_to_reach_it(values: dict[str, Any], expected: str, kube: KubeApi) -> None:
    """In the output of `helm install`, here a dry run."""
    cluster = ("--kubeconfig", str(kube.kubeconfig), "--namespace", "chaski-system")
    given = values | {"crds": {"install": False}}  # the API server has the definition already
    installed = helm("install", "--dry-run=client", *cluster, "--name-template", "chaski", values=given)
    assert expected in installed.stdout, installed.stderr
