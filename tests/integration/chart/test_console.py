"""The console in the chart: off unless asked for, never open, with the right to read routes and no other."""

from typing import Any

import pytest

from integration.chart.test_rendering import CONSOLE, MATRIX
from support.kube.api_server import KubeApi
from support.kube.charts import helm, of_kind, render

PROXIED, FULL = MATRIX["console behind a proxy"], MATRIX["console"]


def named(objects: list[dict[str, Any]], kind: str) -> Any:
    """The console's object of that kind."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == "chaski-console"]
    return found


def arguments(objects: list[dict[str, Any]]) -> list[str]:
    """What the console's container is started with."""
    found: list[str] = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_without_a_word_there_is_none() -> None:
    """No Pod, no right, no account."""
    assert [each for each in render() if "console" in each["metadata"]["name"]] == []


def test_its_passwords_come_from_a_secret_that_the_chart_does_not_make() -> None:
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


def test_it_may_read_routes_and_nothing_else() -> None:
    """Not even ask whose a token is; in the served namespaces only, where those are named."""
    (rule,) = named(render(CONSOLE), "ClusterRole")["rules"]
    assert rule == {"apiGroups": ["chaski.dev"], "resources": ["chaskiroutes"], "verbs": ["get", "list", "watch"]}
    objects = render(FULL)
    roles = [each for each in of_kind(objects, "Role") if each["metadata"]["name"] == "chaski-console"]
    assert {each["metadata"]["namespace"] for each in roles} == {"team-a", "team-b"}
    assert [each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"] == "chaski-console"] == []
    assert {"--namespace=team-a", "--namespace=team-b"} <= set(arguments(objects))


def test_what_is_set_reaches_the_command() -> None:
    """Read-only, Prometheus, the header of the proxy."""
    assert {"--read-only", "--prometheus=http://prometheus.monitoring:9090"} <= set(arguments(render(FULL)))
    proxied = arguments(render(PROXIED))
    assert {"--auth=header", "--auth-header=X-Auth-Request-User"} <= set(proxied)
    assert [each for each in proxied if "password" in each or each == "--read-only"] == []


def test_it_is_one_process_and_never_two() -> None:
    """One that does not know who has signed in would send people to sign in again."""
    spec = named(render(CONSOLE), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_behind_a_proxy_nobody_else_reaches_it() -> None:
    """Whatever else is fenced: whoever reaches the port could name himself."""
    policy = named(render(PROXIED), "NetworkPolicy")["spec"]
    (pages,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8081]
    assert pages["from"] == PROXIED["console"]["auth"]["proxyFrom"]
    assert policy["policyTypes"] == ["Ingress"]
    fenced = PROXIED | {"networkPolicy": {"enabled": True, "consoleFrom": [{"namespaceSelector": {}}]}}
    policy = named(render(fenced), "NetworkPolicy")["spec"]
    (pages,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8081]
    assert pages["from"] == PROXIED["console"]["auth"]["proxyFrom"]


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://prometheus.monitoring:9090", 9090), ("http://prometheus/x", 80), ("https://p.example", 443), ("", None)],
)
def test_through_its_fence_it_reaches_what_it_asks(url: str, port: int | None) -> None:
    """DNS, the API server, AWS, and Prometheus by the port of its address."""
    console = CONSOLE["console"] | {"prometheusUrl": url}
    policy = named(render({"console": console, "networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    ports = [[each["port"] for each in rule["ports"]] for rule in policy["egress"]]
    assert ports == [[53, 53], [443, 6443], [80], *([[port]] if port else [])]


def test_an_ingress_is_made_where_it_is_asked_for() -> None:
    """With its host, class and certificate."""
    assert of_kind(render(CONSOLE), "Ingress") == []
    spec = named(render(FULL), "Ingress")["spec"]
    assert spec["tls"] == [{"hosts": ["chaski.example"], "secretName": "chaski-tls"}]
    assert (spec["ingressClassName"], spec["rules"][0]["host"]) == ("nginx", "chaski.example")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (CONSOLE, "kubectl port-forward -n chaski-system service/chaski-console 8081:80"),
        (CONSOLE, "whom the Secret console-users names"),
        (FULL, "https://chaski.example/"),
        (PROXIED, "by the proxy in front of the Service chaski-console"),
    ],
)
def test_the_release_says_how_to_get_in(values: dict[str, Any], told: str, kube: KubeApi) -> None:
    """After an installation, which helm only plays through here."""
    cluster = ("--kubeconfig", str(kube.kubeconfig), "--namespace", "chaski-system")
    given = values | {"crds": {"install": False}}  # the API server has the definition already
    said = helm("install", "--dry-run=client", *cluster, "--name-template", "chaski", values=given)
    assert told in said.stdout, said.stderr
