"""Releases on a real API server: installed, upgraded, rolled back and removed by each Helm, and handed from Helm 3 to Helm 4.

Helm 3 patches objects itself. Helm 4 lets the server apply new releases, and continues to patch those of Helm 3 unless it gets
`--server-side=true`. Both have to bring every object, the CRDs included, to what the chart says.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube.api_server import KubeApi, kube_api
from support.kube.charts import CHART, HELMS, IMAGES, program
from support.operator.routes import route

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_CRDS = ("chaskiroutes.chaski.dev", "chaskireplays.chaski.dev", "chaskipolicies.chaski.dev")
_SECONDS = 300
_INGEST = "deployment/chaski-ingest"
BEFORE = {"operator": {"extraEnv": [{"name": "GONE", "value": "1"}, {"name": "STAYS", "value": "1"}]}}
AFTER = {"operator": {"extraEnv": [{"name": "STAYS", "value": "2"}]}, "canary": {"enabled": True, "routes": ["a/b"]}}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """An API server without our CRDs: the releases install them."""
    with kube_api(tmp_path_factory.mktemp("bare") / "kube") as api:
        yield api


@dataclass(frozen=True)
class Release:
    """The release `chaski` in a namespace of its own."""

    api: KubeApi
    namespace: str
    older: Path  # an earlier version of the chart

    def run(self, by: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a Helm, which may fail."""
        connection = (f"--kubeconfig={self.api.kubeconfig}", f"--namespace={self.namespace}")
        command = [program(by), *arguments, *connection]
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)

    def helm(self, by: str, *arguments: str) -> str:
        """Runs a Helm; returns its output."""
        ran = self.run(by, *arguments)
        assert ran.returncode == 0, f"{by} {' '.join(arguments)}: {ran.stderr}"
        assert "warn" not in ran.stderr.lower(), ran.stderr  # of the API server too, such as deprecated fields
        return ran.stdout

    def put(self, by: str, verb: str, chart: Path, values: Mapping[str, Any], *more: str) -> str:
        """Installs or upgrades from a chart; returns the notes."""
        file = self.older.parent / "given.yaml"
        file.write_text(json.dumps({**IMAGES, **values}))
        return self.helm(by, verb, "chaski", str(chart), f"--values={file}", *more)

    def is_as_the_chart_says(self, by: str) -> None:
        """Every object of the release's manifest: applying it once more as Helm would change nothing."""
        manifest = [each for each in yaml.safe_load_all(self.helm(by, "get", "manifest", "chaski")) if each]
        assert {each["kind"] for each in manifest} >= {
            "CustomResourceDefinition",
            "Deployment",
            "HorizontalPodAutoscaler",
        }
        # Helm writes these on every object besides the manifest, and adopts no object without them.
        owner = {"meta.helm.sh/release-name": "chaski", "meta.helm.sh/release-namespace": self.namespace}
        for each in manifest:
            about = each["metadata"]
            about["annotations"] = {**about.get("annotations", {}), **owner}
            about["labels"] = {**about.get("labels", {}), "app.kubernetes.io/managed-by": "Helm"}
        bundle = {"apiVersion": "v1", "kind": "List", "items": manifest}
        arguments = ("diff", "--server-side", "--force-conflicts", "--field-manager=helm", "-n", self.namespace)
        ran = self.api.try_kubectl(*arguments, "-f", "-", document=bundle)
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr

    def environment(self) -> dict[str, str]:
        """GONE and STAYS of the operator."""
        (container,) = self.api.get("deployment", "chaski-operator", "-n", self.namespace)["spec"]["template"]["spec"][
            "containers"
        ]
        return {each["name"]: each["value"] for each in container["env"] if each["name"] in ("GONE", "STAYS")}

    def definition(self) -> tuple[list[str], bool]:
        """The printer columns of ChaskiRoutes, and whether the earlier chart's field still exists."""
        (version,) = self.api.get("crd", _CRDS[0])["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        return [each["name"] for each in version["additionalPrinterColumns"]], "legacy" in spec

    def has(self, resource: str) -> bool:
        """Whether an object exists in the namespace."""
        return self.api.try_kubectl("get", resource, "-n", self.namespace).returncode == 0

    def method(self) -> str:
        """How Helm 4 writes the release's objects: csa (it patches them) or ssa (the server applies them)."""
        return str(json.loads(self.helm("helm4", "get", "metadata", "chaski", "-o", "json"))["applyMethod"])


@pytest.fixture
def release(bare: KubeApi, tmp_path: Path) -> Iterator[Release]:
    """A release that is not installed yet; nothing of it stays."""
    older = tmp_path / "older"
    shutil.copytree(CHART, older)
    about = yaml.safe_load((older / "Chart.yaml").read_text())
    (older / "Chart.yaml").write_text(json.dumps(about | {"version": "0.0.9"}))
    file = older / "files" / "chaskiroutes.yaml"
    definition = yaml.safe_load(file.read_text())
    (version,) = definition["spec"]["versions"]
    version["additionalPrinterColumns"].pop()
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["legacy"] = {"type": "string"}
    file.write_text(yaml.safe_dump(definition, sort_keys=False))
    made = Release(bare, bare.make_namespace("helm"), older)
    yield made
    made.run(HELMS[-1], "uninstall", "chaski")
    bare.kubectl("delete", "chaskiroutes", "--all", "-n", made.namespace, "--ignore-not-found")
    bare.kubectl("delete", "crd", *_CRDS, "--ignore-not-found")


def columns() -> list[str]:
    """The printer columns of the chart's definition of ChaskiRoutes."""
    (version,) = yaml.safe_load((CHART / "files" / "chaskiroutes.yaml").read_text())["spec"]["versions"]
    return [each["name"] for each in version["additionalPrinterColumns"]]


def upgraded(release: Release, by: str) -> None:
    """Checks a release of `AFTER`."""
    release.is_as_the_chart_says(by)
    assert release.environment() == {"STAYS": "2"}
    assert release.definition() == (columns(), False)
    assert release.has("deployment/chaski-canary")


def rolled_back(release: Release, by: str) -> None:
    """Checks a release of `BEFORE`, from the earlier chart."""
    release.is_as_the_chart_says(by)
    assert release.environment() == {"GONE": "1", "STAYS": "1"}
    assert release.definition() == (columns()[:-1], True)
    assert not release.has("deployment/chaski-canary")


@pytest.mark.parametrize("by", HELMS)
def test_a_release_is_installed_upgraded_rolled_back_and_removed(by: str, release: Release) -> None:
    """By one Helm. Definitions and routes stay, and the other Helm installs over them."""
    notes = release.put(by, "install", release.older, BEFORE)
    assert "kubectl wait -n default --for=condition=Ready chaskiroute/first" in notes
    rolled_back(release, by)
    release.api.kubectl("apply", "--server-side", "-f", "-", document=route(release.namespace))
    release.put(by, "upgrade", CHART, AFTER)
    upgraded(release, by)
    release.helm(by, "rollback", "chaski", "1")
    rolled_back(release, by)
    release.helm(by, "uninstall", "chaski")
    assert not release.has(_INGEST)
    assert len(release.api.get("chaskiroutes", "-n", release.namespace)["items"]) == 1
    (other,) = set(HELMS) - {by}
    release.put(other, "install", CHART, AFTER)
    upgraded(release, other)
    assert len(release.api.get("chaskiroutes", "-n", release.namespace)["items"]) == 1


@pytest.mark.parametrize("server_side", ["auto", "true"])
def test_helm_4_continues_a_release_of_helm_3(server_side: str, release: Release) -> None:
    """With the patches of Helm 3, or applied by the server; what autoscaling and `kubectl rollout restart` wrote stays.

    A rollback to a revision of Helm 3 patches again.
    """
    release.put("helm3", "install", release.older, BEFORE)
    release.api.kubectl("scale", _INGEST, "--replicas=3", "-n", release.namespace)
    release.api.kubectl("rollout", "restart", _INGEST, "-n", release.namespace)
    method = {"auto": "csa", "true": "ssa"}[server_side]
    for values in (BEFORE, AFTER):
        release.put("helm4", "upgrade", CHART, values, f"--server-side={server_side}")
        assert release.method() == method
    upgraded(release, "helm4")
    release.helm("helm4", "rollback", "chaski", "1")
    assert release.method() == "csa"
    rolled_back(release, "helm4")
    release.put("helm4", "upgrade", CHART, AFTER)
    upgraded(release, "helm4")
    spec = release.api.get(_INGEST, "-n", release.namespace)["spec"]
    assert spec["replicas"] == 3
    assert "kubectl.kubernetes.io/restartedAt" in spec["template"]["metadata"]["annotations"]


def test_a_change_by_hand_stops_helm_4_and_is_overwritten_with_force_conflicts(release: Release) -> None:
    """The server names the object, the field and who wrote it, as docs/install.md says."""
    release.put("helm4", "install", CHART, BEFORE)
    release.api.kubectl("set", "env", "deployment/chaski-operator", "STAYS=3", "-n", release.namespace)
    file = release.older.parent / "given.yaml"
    file.write_text(json.dumps({**IMAGES, **AFTER}))
    refused = release.run("helm4", "upgrade", "chaski", str(CHART), f"--values={file}")
    assert refused.returncode != 0
    assert "chaski-operator" in refused.stderr
    assert 'conflict with "kubectl-set"' in refused.stderr
    release.put("helm4", "upgrade", CHART, AFTER, "--force-conflicts")
    upgraded(release, "helm4")
