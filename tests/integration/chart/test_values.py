"""The schema of the values: it accepts the keys of values.yaml only, with valid values."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from support.kube.charts import CHART, ROOT, helm

pytestmark = pytest.mark.cluster

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a typing error": ({"ingest": {"replica": 3}}, "replica"),
    "a typing error at the top": ({"ingress": {}}, "ingress"),
    "text for a number": ({"ingest": {"replicas": "three"}}, "replicas"),
    "no minimum of Pods": ({"ingest": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
    "an invalid port": ({"ingest": {"service": {"port": 70000}}}, "port"),
    "a tag where a digest belongs": ({"operator": {"image": {"digest": "v1.0.0"}}}, "digest"),
    "an alias of a key": ({"aws": {"kmsKeyArn": "alias/company-key"}}, "kmsKeyArn"),
    "a tag of Chaski's own": ({"aws": {"tags": {"chaski.dev/owner": "x"}}}, "propertyName"),
    "an invalid role": ({"workers": {"roleArn": "chaski-worker"}}, "roleArn"),
    "an invalid role of a namespace": ({"tools": {"roleArns": {"team-a": "chaski-worker"}}}, "team-a"),
    "a pattern of namespaces": ({"workers": {"roleArns": {"*": "arn:aws:iam::111122223333:role/w"}}}, "propertyName"),
    "an invalid region": ({"aws": {"region": "Frankfurt"}}, "region"),
    "an endpoint without a scheme": ({"aws": {"endpoints": {"sqs": "sqs:9324"}}}, "sqs"),
    "an invalid log level": ({"operator": {"logLevel": "verbose"}}, "logLevel"),
    "a window of hours": ({"operator": {"scaleDownWindowSeconds": 3601}}, "scaleDownWindowSeconds"),
    "a liveness limit shorter than a slow answer": ({"operator": {"unreachableSeconds": 5}}, "unreachableSeconds"),
    "text for a switch": ({"operator": {"removeAdditions": "yes"}}, "removeAdditions"),
    "an invalid window": ({"operator": {"scaleDownWindowSeconds": "5m"}}, "scaleDownWindowSeconds"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
    "an invalid namespace": ({"watchNamespaces": ["Team_A"]}, "watchNamespaces"),
    "the tests' way around the guard": ({"workers": {"env": {"CHASKI_ALLOW_LOOPBACK": "1"}}}, "CHASKI_ALLOW_LOOPBACK"),
    "no grace period": ({"ingest": {"terminationGracePeriodSeconds": 1}}, "terminationGracePeriodSeconds"),
    "a console without authentication": ({"console": {"enabled": True, "auth": {"mode": "none"}}}, "mode"),
    "a console without passwords": ({"console": {"enabled": True}}, "existingSecret"),
    "a console that trusts every client": ({"console": {"enabled": True, "auth": {"mode": "header"}}}, "proxyFrom"),
    "a password where a Secret belongs": (
        {"console": {"enabled": True, "auth": {"existingSecret": "ada:Correct horse"}}},
        "existingSecret",
    ),
    "an Ingress without a host": (
        {"console": {"enabled": True, "auth": {"existingSecret": "s"}, "ingress": {"enabled": True}}},
        "host",
    ),
    "a registry with a scheme": ({"image": {"registry": "https://registry.example"}}, "registry"),
    "a registry that ends with a slash": ({"image": {"registry": "registry.example/"}}, "registry"),
    "an installation in capitals": ({"installation": "Prod"}, "installation"),
    "root": ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
    "a user's name": ({"podSecurityContext": {"runAsUser": "nobody"}}, "runAsUser"),
    "a way around the restricted standard": ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    "too many dots": ({"dns": {"ndots": 16}}, "ndots"),
    "a bundle that is a path": ({"aws": {"caBundle": "/etc/ssl/ca.crt"}}, "caBundle"),
    "a proxy with a password": ({"aws": {"proxy": {"url": "http://user:secret@proxy:3128"}}}, "url"),
    "names of hosts in one text": ({"aws": {"proxy": {"noProxy": ["a,b"]}}}, "noProxy"),
    "a common label of Helm": ({"commonLabels": {"helm.sh/chart": "x"}}, "helm.sh/chart"),
    "a common label of the selector": ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
    "a common label with spaces": ({"commonLabels": {"team": "a b"}}, "team"),
    "an argument without dashes": ({"operator": {"extraArgs": ["resync-seconds=5"]}}, "extraArgs"),
    "arguments in one text": ({"ingest": {"extraArgs": "--a --b"}}, "extraArgs"),
    "a volume of the chart": ({"ingest": {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}}, "extraVolumes"),
    "a volume without a source": ({"console": {"extraVolumes": [{"name": "a"}]}}, "extraVolumes"),
    "a mount without a path": ({"operator": {"extraVolumeMounts": [{"name": "a"}]}}, "mountPath"),
    "a mount at no path": ({"operator": {"extraVolumeMounts": [{"name": "a", "mountPath": "etc"}]}}, "mountPath"),
    "a spread with a selector": (
        {
            "operator": {
                "topologySpread": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "b", "labelSelector": {}}]
            }
        },
        "topologySpread",
    ),
    "a spread without a key": ({"workers": {"topologySpread": [{"maxSkew": 1}]}}, "topologyKey"),
    "a label of Chaski's own on workers": ({"workers": {"podLabels": {"chaski.dev/queue": "x"}}}, "chaski.dev/queue"),
    "host network of workers": ({"workers": {"hostNetwork": True}}, "hostNetwork"),
    "tolerations in one object": ({"workers": {"tolerations": {"key": "a"}}}, "tolerations"),
    "resources of another kind": ({"workers": {"resources": {"request": {}}}}, "request"),
    "a priority of the canary by number": ({"canary": {"priorityClassName": 5}}, "priorityClassName"),
    "an Ingress of ingest without a host": ({"ingest": {"ingress": {"enabled": True}}}, "host"),
    "an HTTPRoute without a Gateway": ({"ingest": {"httpRoute": {"enabled": True}}}, "parentRefs"),
    "an HTTPRoute with a URL": (
        {"ingest": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["https://a.example"]}}},
        "hostnames",
    ),
    "a Gateway without a name": ({"console": {"httpRoute": {"parentRefs": [{"gateway": "g"}]}}}, "parentRefs"),
    "no egress": ({"networkPolicy": {"egressPorts": []}}, "egressPorts"),
}


@pytest.mark.parametrize(("values", "named"), REFUSED.values(), ids=list(REFUSED))
def test_an_invalid_value_is_refused_with_its_name(values: dict[str, Any], named: str) -> None:
    """Before anything is installed."""
    ran = helm("template", values=values)
    assert ran.returncode != 0
    assert named in ran.stderr


def test_a_chart_without_images_is_refused_with_what_to_set() -> None:
    """The project publishes no images; the owner of any default name would get the operator's permissions."""
    ran = helm("template", values={"image": {"registry": ""}})
    assert ran.returncode != 0
    assert "set image.registry" in ran.stderr
    assert "docs/install.md" in ran.stderr


@pytest.mark.parametrize("part", ["operator", "workers", "tools", "ingest"])
def test_a_component_without_an_image_is_named(part: str) -> None:
    """Although the others have their own repositories."""
    others = {each: {"image": {"repository": f"r/{each}"}} for each in ("operator", "workers", "tools", "ingest")}
    others.pop(part)
    ran = helm("template", values={"image": {"registry": ""}, **others})
    assert ran.returncode != 0
    assert f"no image for {part}: set image.registry" in ran.stderr
    assert f"{part}.image.repository" in ran.stderr


def test_only_images_of_the_values_are_used() -> None:
    """In all rendered objects, including the tests and the canary."""
    values = {
        "image": {"registry": "registry.example:5000/team/chaski", "tag": "1.2.3"},
        "console": {"enabled": True, "auth": {"existingSecret": "users"}},
        "canary": {"enabled": True, "routes": ["a/b"]},
    }
    rendered = helm("template", values=values).stdout
    named = set(re.findall(r"(?:image: |--\w+-image=)(\S+)", rendered))
    assert named == {
        f"registry.example:5000/team/chaski/{part}:1.2.3" for part in ("operator", "worker", "tools", "ingest")
    }


def test_every_value_has_a_schema_and_every_schema_a_value() -> None:
    """A value without a schema accepts anything; a schema without a value is missing in the README."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(_described(schema, schema)) - {"global"} == set(_given(values, schema, schema))


def test_the_generated_files_are_up_to_date() -> None:
    """The CRDs and the README's table; `make chart` writes them."""
    command = [sys.executable, str(ROOT / "hack" / "chart_files.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_value_is_described() -> None:
    """Each row of the README has a sentence."""
    rows = [line for line in (CHART / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if not row.rstrip(" |").endswith((".", ".)"))] == []


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return root["$defs"][reference.rpartition("/")[2]] if reference else schema


def _described(schema: Mapping[str, Any], root: Mapping[str, Any], above: str = "") -> list[str]:
    properties = _resolved(schema, root).get("properties")
    if not properties or above.endswith("resources."):
        return [above.rstrip(".")]
    return [name for key, child in properties.items() for name in _described(child, root, f"{above}{key}.")]


def _given(values: Any, schema: Mapping[str, Any], root: Mapping[str, Any], above: str = "") -> list[str]:
    properties = _resolved(schema, root).get("properties")
    if not isinstance(values, dict) or not properties or above.endswith("resources."):
        return [above.rstrip(".")]
    return [
        name for key, child in values.items() for name in _given(child, properties.get(key, {}), root, f"{above}{key}.")
    ]
