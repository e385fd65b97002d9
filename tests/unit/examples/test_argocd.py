"""The health scripts for Argo CD, on recorded states of routes and replays."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaski_core.errors import FieldError
from chaski_operator.replay.policy import decide
from chaski_operator.route.observation import RouteObservation
from chaski_operator.route.status import status_of
from support.tools import need
from unit.operator.builders import FOREIGN_QUEUE, deployment, provision_error, route_of
from unit.operator.replay.test_job import replay
from unit.operator.replay.test_policy import REPORT, ended, job, pod, seen
from unit.operator.route.test_status import OBSERVATION

pytestmark = pytest.mark.landing

SCRIPTS = Path(__file__).resolve().parents[3] / "examples" / "argocd" / "chaski.dev"
_STATES = {
    "healthy": OBSERVATION,
    "scaled-to-zero": replace(OBSERVATION, deployments=[deployment(replicas=0)]),
    "starting": replace(OBSERVATION, deployments=[deployment(availableReplicas=0)]),
    "throttled": RouteObservation(route=route_of(), aws_error=provision_error("RequestThrottled")),
    "suspended": replace(OBSERVATION, route=route_of(suspend={"delivery": True})),
    "no-producers": replace(OBSERVATION, route=route_of(producers=[])),
    "invalid": RouteObservation(errors=[FieldError("spec.queues", "is missing")]),
    "queue-of-another": RouteObservation(route=route_of(), aws_error=FOREIGN_QUEUE),
    "late": replace(
        OBSERVATION,
        deployments=[deployment(availableReplicas=0, conditions=[{"type": "Progressing", "status": "False"}])],
    ),
}
_DONE = seen(job=job("Complete"), pods=[ended(0, json.dumps({}))], progress=REPORT)
_REPLAYS = {
    "pending": seen(route=None),
    "running": seen(job=job(), pods=[pod(running={})], progress=REPORT),
    "suspended": seen(replay(suspend=True)),
    "complete": _DONE,
    "failed": seen(job=job("Failed", reason="BackoffLimitExceeded")),
}


def _route(observation: RouteObservation) -> dict[str, Any]:
    metadata = {"name": "orders", "namespace": "shop", "generation": 3}
    status = status_of(observation, 3, {}, "2026-11-30T20:00:00Z")
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "metadata": metadata, "status": status}


def _made(kind: str, name: str) -> dict[str, Any]:
    if kind == "ChaskiRoute":
        return _route(_STATES[name])
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": kind, "status": decide(_REPLAYS[name], 3.0).status}


def _recorded() -> list[tuple[str, str, dict[str, str]]]:
    return [
        (kind, Path(each["inputPath"]).stem, each["healthStatus"])
        for kind in ("ChaskiReplay", "ChaskiRoute")
        for each in yaml.safe_load((SCRIPTS / kind / "health_test.yaml").read_text(encoding="utf-8"))["tests"]
    ]


def _lua(value: Any) -> str:
    """A value of JSON as an expression of Lua."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"[{_lua(name)}] = {_lua(each)}" for name, each in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(_lua, value)) + "}"
        case str():
            return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
        case None:
            return "nil"
        case _:
            return json.dumps(value)


def health(kind: str, document: Mapping[str, Any]) -> dict[str, str]:
    """What a script returns for an object, run as Argo CD runs it: with the object in `obj`."""
    script = (SCRIPTS / kind / "health.lua").read_text(encoding="utf-8")
    text = f"obj = {_lua(document)}\nlocal found = (function() {script} end)()\n"
    text += 'io.write(found.status, "\\n", found.message or "")'
    ran = subprocess.run([need("lua5.4"), "-"], input=text, capture_output=True, text=True, timeout=30, check=True)
    status, _, message = ran.stdout.partition("\n")
    return {"status": status, "message": message}


@pytest.mark.parametrize(
    ("kind", "name", "expected"), _recorded(), ids=lambda each: each if isinstance(each, str) else ""
)
def test_each_recorded_state_has_its_health(kind: str, name: str, expected: dict[str, str]) -> None:
    """And is a state that the operator writes."""
    recorded = yaml.safe_load((SCRIPTS / kind / "testdata" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert health(kind, recorded) == expected
    assert _marks(recorded) == _marks(_made(kind, name))


@pytest.mark.parametrize("kind", ["ChaskiRoute", "ChaskiReplay"])
@pytest.mark.parametrize("more", [{}, {"status": {}}, {"status": {"conditions": []}}], ids=str)
def test_an_object_that_the_operator_has_not_observed_yet_is_progressing(kind: str, more: dict[str, Any]) -> None:
    """Neither healthy nor degraded."""
    assert health(kind, {"metadata": {"generation": 1}, **more})["status"] == "Progressing"


def test_the_status_of_an_earlier_spec_does_not_count() -> None:
    """`observedGeneration` is older than the object."""
    document = _route(OBSERVATION)
    document["metadata"]["generation"] = 4
    assert health("ChaskiRoute", document)["status"] == "Progressing"


def test_every_state_is_recorded() -> None:
    """Those that the tests above compute."""
    found = {(kind, name) for kind, name, _ in _recorded()}
    assert found == {("ChaskiRoute", each) for each in _STATES} | {("ChaskiReplay", each) for each in _REPLAYS}


def _marks(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["type"], each["status"], each["reason"]) for each in document["status"]["conditions"]]
