"""The chart's objects for alerts, dashboards, the canary and HTTPS."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube.charts import CHART, of_kind, render
from support.tools import need

pytestmark = pytest.mark.cluster


def test_the_rules_are_those_of_the_file_with_the_runbooks_of_the_installation(tmp_path: Path) -> None:
    """Unchanged, including the braces of Prometheus' templates; promtool accepts them."""
    values = {"metrics": {"prometheusRule": {"enabled": True, "runbooks": "https://docs.example/runbooks"}}}
    (rule,) = of_kind(render(values), "PrometheusRule")
    source = (CHART / "files" / "alerts.yaml").read_text(encoding="utf-8")
    assert rule["spec"] == yaml.safe_load(source.replace("docs/runbooks.md#", "https://docs.example/runbooks#"))
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    ran = subprocess.run([need("promtool"), "check", "rules", file], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    """With its label and the unchanged file."""
    maps = [
        each
        for each in of_kind(render({"metrics": {"dashboards": {"enabled": True}}}), "ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    files = {f"chaski-{file.name}": file for file in (CHART / "files" / "dashboards").glob("*.json")}
    found = {name: text for each in maps for name, text in each["data"].items()}
    assert set(found) == set(files)
    assert {name: json.loads(text) for name, text in found.items()} == {
        name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()
    }


def test_by_default_there_are_no_rules_and_dashboards() -> None:
    """A cluster without the Prometheus operator refuses a PrometheusRule."""
    objects = render()
    assert of_kind(objects, "PrometheusRule") == []
    assert [each["metadata"]["name"] for each in of_kind(objects, "ConfigMap") if "dashboard" in str(each)] == []


def test_the_network_policy_of_ingest_admits_the_canary() -> None:
    """In addition to the producers of the values, as the Pod of `helm test`."""
    values = {
        "canary": {"enabled": True, "routes": ["n/r"]},
        "networkPolicy": {"enabled": True, "ingestFrom": [{"podSelector": {"matchLabels": {"app": "producer"}}}]},
    }
    objects = render(values)
    (policy,) = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"].endswith("-ingest")]
    (messages,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == 8080]
    (canary,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"].endswith("-canary")]
    selectors = [each["podSelector"]["matchLabels"] for each in messages["from"]]
    ours = canary["spec"]["selector"]["matchLabels"]
    assert selectors == [{"app": "producer"}, ours | {"app.kubernetes.io/component": "test"}, ours]


def test_the_canary_uses_https_if_ingest_does() -> None:
    """It gets the authority of the certificate, but not the key."""

    def canary(values: dict[str, object]) -> dict[str, Any]:
        objects = render({"canary": {"enabled": True, "routes": ["n/r"]}, **values})
        (found,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"].endswith("-canary")]
        pod: dict[str, Any] = found["spec"]["template"]["spec"]
        return pod

    plain, secure = canary({}), canary({"ingest": {"tls": {"secretName": "ingest-tls"}}})
    assert "--ingest=http://chaski-ingest.chaski-system.svc:80" in plain["containers"][0]["args"]
    assert "--ingest=https://chaski-ingest.chaski-system.svc:80" in secure["containers"][0]["args"]
    assert "--ca-file=/ca/ca.crt" in secure["containers"][0]["args"]
    (volume,) = [each for each in secure["volumes"] if each not in plain["volumes"]]
    (source,) = volume["projected"]["sources"]
    assert source["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_ingest_serves_the_certificate_of_the_secret() -> None:
    """Mounted at the path of its flags; `helm test` and the notes use HTTPS too."""
    objects = render({"ingest": {"tls": {"secretName": "ingest-tls"}}})
    (ingest,) = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "chaski-ingest"]
    pod = ingest["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each.get("secret") == {"secretName": "ingest-tls"}]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    folder = mount["mountPath"]
    assert {f"--tls-cert={folder}/tls.crt", f"--tls-key={folder}/tls.key"} <= set(pod["containers"][0]["args"])
    (test,) = of_kind(objects, "Pod")
    (url,) = [each["value"] for each in test["spec"]["containers"][0]["env"] if each["name"] == "MESSAGES_URL"]
    assert url.startswith("https://chaski-ingest.")
