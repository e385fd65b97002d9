"""`chaski validate` and Kubernetes' own validation of the same definition say the same."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from chaski_core.errors import FieldError
from chaski_core.route.validation.crd import definition_path
from chaski_core.route.validation.validate import validate, validate_change
from contract.crd.making import Manifest
from contract.crd.manifests import INVALID, VALID

pytestmark = pytest.mark.timeout(1200)  # building Kubernetes' packages for the first time takes minutes

_BUILD = Path(__file__).parents[3] / "hack" / "crdcheck" / "build"

Said = Sequence[Mapping[str, str]]


def _judged(manifest: Manifest) -> list[FieldError]:
    """What `chaski validate` says of a manifest."""
    if manifest.old is not None:
        return validate_change(manifest.old, manifest.document)
    return validate(manifest.document)


@pytest.fixture(scope="session")
def kubernetes() -> Callable[[Manifest], Said]:
    """What Kubernetes says of each manifest of the table."""
    is_ci = os.environ.get("CI") == "true"
    built = subprocess.run([_BUILD, *([] if is_ci else ["--if-built"])], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        reason = f"Kubernetes' own validation is not at hand: {built.stderr.strip()}"
        pytest.fail(reason) if is_ci else pytest.skip(reason)
    manifests = (*VALID, *INVALID)
    questions = "\n".join(json.dumps({"object": one.document, "old": one.old}) for one in manifests)
    command = [built.stdout.strip(), "objects", str(definition_path())]
    answers = subprocess.run(command, input=questions, capture_output=True, text=True, check=True).stdout.splitlines()
    said = {one.name: json.loads(answer) for one, answer in zip(manifests, answers, strict=True)}
    return lambda manifest: said[manifest.name]


def _named(manifests: Sequence[Manifest]) -> pytest.MarkDecorator:
    """A test for each manifest, called by its name."""
    return pytest.mark.parametrize("manifest", manifests, ids=[one.name.replace(" ", "-") for one in manifests])


def test_the_table_is_large_enough_and_names_each_manifest_once() -> None:
    """At least forty manifests are refused and ten taken, and no name hides another."""
    assert len(INVALID) >= 40
    assert len(VALID) >= 10
    assert len({one.name for one in (*VALID, *INVALID)}) == len(VALID) + len(INVALID)


@_named(VALID)
def test_validate_takes_a_right_route(manifest: Manifest) -> None:
    """A right route has no fault."""
    assert _judged(manifest) == []


@_named(VALID)
def test_kubernetes_takes_a_right_route(manifest: Manifest, kubernetes: Callable[[Manifest], Said]) -> None:
    """What `validate` takes, the API server takes."""
    assert kubernetes(manifest) == []


@_named(INVALID)
def test_validate_names_every_fault_with_its_place(manifest: Manifest) -> None:
    """Exactly the faults of the table are found, each at its indexed path."""
    found = [(fault.field, fault.message) for fault in _judged(manifest)]
    assert sorted(field for field, _ in found) == sorted(field for field, _ in manifest.faults)
    for field, message in manifest.faults:
        texts = [text for place, text in found if place == field]
        assert message in texts or any(text.startswith(message.removesuffix("...")) for text in texts)


@_named([one for one in INVALID if one.of_the_schema])
def test_kubernetes_refuses_for_the_same_field(manifest: Manifest, kubernetes: Callable[[Manifest], Said]) -> None:
    """Where the schema refuses, the API server names the same fields; below a wrong type it may go on looking."""
    said = {one["field"].removesuffix("<nil>") for one in kubernetes(manifest)} - {""}
    wanted = {field for field, _ in manifest.faults}
    assert wanted <= said
    assert all(field.startswith(tuple(wanted)) for field in said)


@_named([one for one in INVALID if not one.of_the_schema])
def test_kubernetes_refuses_in_the_same_words(manifest: Manifest, kubernetes: Callable[[Manifest], Said]) -> None:
    """Where a rule refuses, the API server says the very same sentence, at the same place or a parent of it."""
    said = kubernetes(manifest)
    assert said
    assert said[0]["message"] == manifest.faults[0][1]
    for one in said:
        assert any(
            field.startswith(one["field"]) and message == one["message"] for field, message in manifest.faults
        ), one
