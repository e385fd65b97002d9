"""The chart rendered by the real helm, and judged by kubeconform with schemas that a real API server publishes."""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support.aws.java_emulators import unavailable
from support.kube.api_server import KubeApi

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "chaski"
#: Kinds of others' definitions, whose schemas no API server here has.
FOREIGN = ("PodMonitor", "PrometheusRule", "ServiceMonitor")
#: Where images lie; the chart names none of its own.
IMAGES = {"image": {"registry": "registry.example/chaski"}}
_SECONDS = 60


@functools.cache
def program(name: str) -> str:
    """The path of a program that `make kube` built; where it is missing the test is skipped, or fails in CI."""
    command = [sys.executable, str(ROOT / "hack" / "kube" / "build.py"), "--if-built", name]
    found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if found.returncode:
        unavailable(found.stderr.strip())
    return str(Path(found.stdout.strip()) / name)


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm over the chart with values, `IMAGES` among them, as a cluster of the supported version."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({**IMAGES, **(values or {})}, file)
        file.flush()
        version = ("--kube-version", "1.34.4") if arguments[0] in ("template", "lint") else ()
        command = [program("helm"), *arguments, str(CHART), "--values", file.name, *version]
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


def render(values: Mapping[str, Any] | None = None, namespace: str = "chaski-system") -> list[dict[str, Any]]:
    """The objects of a release called `chaski`."""
    ran = helm("template", "--namespace", namespace, "--name-template", "chaski", values=values)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def of_kind(objects: Sequence[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """Those of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def conform(folder: Path, objects: Sequence[Mapping[str, Any]]) -> str:
    """What kubeconform -strict has against objects, by the schemas in a folder; "" for nothing."""
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
    """A JSON schema for each kind that an API server has, its own and the installed definitions'."""
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
    """With nothing allowed that is not described, and with the two types that the document says in a way of its own."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(value) for name, value in schema.items()}
    if "properties" in made and isinstance(schema["properties"], dict):
        made.setdefault("additionalProperties", False)
    if made.get("format") == "int-or-string":
        made["type"] = ["string", "integer"]
    return made
