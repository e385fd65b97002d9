"""The chart, rendered by helm and validated by kubeconform with the schemas of a real API server."""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support.kube.api_server import KubeApi
from support.tools import missing, requires

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "chaski"
#: Kinds of foreign CRDs, whose schemas the API server does not have.
FOREIGN = ("HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor")
#: The programs of the supported major versions of Helm, the older one first. Tests that don't name one use the newer.
HELMS = ("helm3", "helm4")
#: The oldest supported version of Kubernetes, for which charts are rendered.
OLDEST = "1.35.0"
#: The chart has no default registry.
IMAGES = {"image": {"registry": "registry.example/chaski"}}
_SECONDS = 300


def program(name: str) -> str:
    """The path of a program that `make kube` built; where it is missing the test is skipped, or fails in CI."""
    requires("cluster", name)
    return _program(name)


@functools.cache
def _program(name: str) -> str:
    command = [sys.executable, str(ROOT / "hack" / "kube" / "build.py"), "--if-built", name]
    found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if found.returncode:
        missing(found.stderr.strip())
    return str(Path(found.stdout.strip()) / name)


def helm(
    *arguments: str, values: Mapping[str, Any] | None = None, by: str = HELMS[-1]
) -> subprocess.CompletedProcess[str]:
    """Runs a Helm of `HELMS` on the chart with `IMAGES` and more values, for the oldest supported Kubernetes."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({**IMAGES, **(values or {})}, file)
        file.flush()
        version = ("--kube-version", OLDEST) if arguments[0] in ("template", "lint") else ()
        command = [program(by), *arguments, str(CHART), "--values", file.name, *version]
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


def render(
    values: Mapping[str, Any] | None = None, namespace: str = "chaski-system", by: str = HELMS[-1]
) -> list[dict[str, Any]]:
    """The objects of a release called `chaski`."""
    ran = helm("template", "--namespace", namespace, "--name-template", "chaski", values=values, by=by)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def of_kind(objects: Sequence[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """The objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def conform(folder: Path, objects: Sequence[Mapping[str, Any]]) -> str:
    """The faults that kubeconform -strict finds in objects, by the schemas in a folder; empty for none."""
    command = [
        program("kubeconform"),
        "-strict",
        "-skip",
        ",".join(FOREIGN),
        "-schema-location",
        _location(folder),
        "-",
    ]
    text = yaml.safe_dump_all(objects)
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def write_schemas(api: KubeApi, folder: Path) -> None:
    """Writes a JSON schema for each kind of an API server, CRDs included."""
    api_spec = json.loads(api.kubectl("get", "--raw", "/openapi/v2"))
    definitions = {name: _strict(each) for name, each in api_spec["definitions"].items()}
    (folder / "definitions.json").write_text(json.dumps({"definitions": definitions}))
    for name, each in definitions.items():
        for kind in each.get("x-kubernetes-group-version-kind", []):
            schema = {"$ref": f"file://{folder}/definitions.json#/definitions/{name}"}
            file = f"{kind['kind']}_{kind['group'] or kind['version']}_{kind['version']}.json".lower()
            (folder / file).write_text(json.dumps(schema))


def _location(folder: Path) -> str:
    return f"{folder}/{{{{ .ResourceKind }}}}_{{{{ .Group }}}}_{{{{ .ResourceAPIVersion }}}}.json"


def _strict(schema: Any) -> Any:
    """The schema without additional properties, and with the types of `int-or-string`."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items()}
    if "properties" in strict and isinstance(schema["properties"], dict):
        strict.setdefault("additionalProperties", False)
    if strict.get("format") == "int-or-string":
        strict["type"] = ["string", "integer"]
    return strict
