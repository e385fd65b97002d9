"""`chaski validate` and Kubernetes' own validation of the same CRD agree."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from chaski_core.errors import FieldError
from chaski_core.route.loading import validate, validate_change
from chaski_core.route.validation.crd import definition_path
from contract.crd.making import Manifest
from contract.crd.manifests import INVALID, VALID
from contract.crd.odd_values import odd_documents

pytestmark = pytest.mark.timeout(1200)  # building Kubernetes' packages for the first time takes minutes

_BUILD = Path(__file__).parents[3] / "hack" / "crdcheck" / "build"

Faults = Sequence[Mapping[str, str]]


def _validated(manifest: Manifest) -> list[FieldError]:
    """The faults that `chaski validate` reports."""
    if manifest.old is not None:
        return validate_change(manifest.old, manifest.document)
    return validate(manifest.document)


def judged(manifests: Sequence[Manifest]) -> list[Faults]:
    """The faults that Kubernetes reports for each manifest."""
    is_ci = os.environ.get("CI") == "true"
    built = subprocess.run([_BUILD, *([] if is_ci else ["--if-built"])], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        reason = f"Kubernetes' own validation is not available: {built.stderr.strip()}"
        pytest.fail(reason) if is_ci else pytest.skip(reason)
    questions = "\n".join(json.dumps({"object": one.document, "old": one.old}) for one in manifests)
    command = [built.stdout.strip(), "objects", str(definition_path())]
    answers = subprocess.run(command, input=questions, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(answer) for answer in answers]


@pytest.fixture(scope="session")
def kubernetes() -> Callable[[Manifest], Faults]:
    """The faults that Kubernetes reports for each manifest of the tables."""
    manifests = (*VALID, *INVALID)
    faults = {one.name: found for one, found in zip(manifests, judged(manifests), strict=True)}
    return lambda manifest: faults[manifest.name]


def _named(manifests: Sequence[Manifest]) -> pytest.MarkDecorator:
    """Parametrizes a test with manifests by their names."""
    return pytest.mark.parametrize("manifest", manifests, ids=[one.name.replace(" ", "-") for one in manifests])


def test_the_table_is_large_enough_and_names_each_manifest_once() -> None:
    """At least forty manifests are refused and ten accepted, and names are unique."""
    assert len(INVALID) >= 40
    assert len(VALID) >= 10
    assert len({one.name for one in (*VALID, *INVALID)}) == len(VALID) + len(INVALID)


@_named(VALID)
def test_validate_accepts_a_valid_route(manifest: Manifest) -> None:
    """A valid route has no fault."""
    assert _validated(manifest) == []


@_named(VALID)
def test_kubernetes_accepts_a_valid_route(manifest: Manifest, kubernetes: Callable[[Manifest], Faults]) -> None:
    """The API server accepts what `validate` accepts."""
    assert kubernetes(manifest) == []


@_named(INVALID)
def test_validate_reports_every_fault_with_its_path(manifest: Manifest) -> None:
    """Exactly the faults of the table are found, each at its indexed path."""
    found = [(fault.field, fault.message) for fault in _validated(manifest)]
    assert sorted(field for field, _ in found) == sorted(field for field, _ in manifest.faults)
    for field, message in manifest.faults:
        texts = [text for place, text in found if place == field]
        assert message in texts or any(text.startswith(message.removesuffix("...")) for text in texts)


@_named([one for one in INVALID if one.of_the_schema])
def test_kubernetes_refuses_for_the_same_field(manifest: Manifest, kubernetes: Callable[[Manifest], Faults]) -> None:
    """If the schema refuses, the API server names the same fields; below a wrong type it may report more."""
    fields = {one["field"].removesuffix("<nil>") for one in kubernetes(manifest)} - {""}
    wanted = {field for field, _ in manifest.faults}
    assert wanted <= fields
    assert all(field.startswith(tuple(wanted)) for field in fields)


@_named([one for one in INVALID if not one.of_the_schema])
def test_kubernetes_refuses_with_the_same_message(manifest: Manifest, kubernetes: Callable[[Manifest], Faults]) -> None:
    """If a rule refuses, the API server has the same message, at the same path or a parent of it."""
    faults = kubernetes(manifest)
    assert faults
    assert faults[0]["message"] == manifest.faults[0][1]
    for one in faults:
        if one["message"].startswith("Illegal regex: "):
            continue  # the rules after the one that refuses the pattern can't be evaluated with it
        assert any(
            field.startswith(one["field"]) and message == one["message"] for field, message in manifest.faults
        ), one


def test_odd_values_are_accepted_or_refused_by_both() -> None:
    """`validate` and the API server use other implementations of regular expressions."""
    manifests = [Manifest(name, document) for name, document in odd_documents()]
    of_kubernetes = [not faults for faults in judged(manifests)]
    of_validate = [not _validated(one) for one in manifests]
    verdicts = zip(manifests, of_kubernetes, of_validate, strict=True)
    assert [(one.name, server) for one, server, ours in verdicts if server != ours] == []
    assert 100 < sum(of_validate) < len(manifests) - 100
