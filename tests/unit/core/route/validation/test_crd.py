"""The definition is found, and defaults are filled in as by the API server."""

from typing import Any

import pytest

from chaski_core.route.validation.crd import definition_path, route_schema, with_defaults
from contract.crd.making import base, changed


def test_the_definition_is_the_checkouts_own() -> None:
    """In an editable checkout `crds/` is read, not a copy of it."""
    assert definition_path().parts[-2:] == ("crds", "chaskiroutes.yaml")
    assert route_schema()["properties"]["spec"]["type"] == "object"


def test_defaults_are_filled_in_at_every_depth() -> None:
    """Absent objects, fields of given objects and fields of list entries get their defaults."""
    spec = with_defaults(changed({"spec.delivery.timeoutSeconds": 5}))["spec"]
    assert spec["ordering"] == "Relaxed"
    assert spec["delivery"] == {"timeoutSeconds": 5, "concurrencyPerPod": 64}
    assert spec["queues"] == [{"name": "messages", "partitions": 1}]
    assert spec["suspend"] == {"delivery": False, "ingest": False}
    assert spec["deadLetters"] == {"retentionDays": 30}
    assert spec["autoscaling"] == {
        "mode": "BuiltIn",
        "minReplicas": 0,
        "maxReplicas": 10,
        "targetDrainSeconds": 60,
        "scaleToZeroAfterSeconds": 300,
    }


def test_retry_has_no_default() -> None:
    """It depends on the ordering: `default_retry` has it."""
    assert "retry" not in with_defaults(base())["spec"]


def test_a_given_retry_gets_no_default_ladders() -> None:
    """It has only its own ladders; the fields of a ladder have defaults."""
    rungs = [{"name": "r", "delaySeconds": 1}]
    retry = with_defaults(changed({"spec.retry": {"rungs": rungs, "ladders": [{"class": "any", "rungs": ["r"]}]}}))
    assert retry["spec"]["retry"] == {
        "rungs": rungs,
        "ladders": [{"class": "any", "rungs": ["r"], "retriesPerRung": 1}],
        "maxRetryAfterSeconds": 3600,
    }


@pytest.mark.parametrize(
    ("path", "given", "kept"),
    [
        ("spec.deletionPolicy", None, "Retain"),
        ("spec.signing", None, "absent"),
        ("spec.unknown", None, None),
        ("spec.queues", 3, 3),
    ],
    ids=["a-null-with-a-default", "a-null-without", "an-unknown-field", "a-wrong-type"],
)
def test_unusual_values_are_treated_as_by_the_api_server(path: str, given: Any, kept: Any) -> None:
    """Nulls of known fields are dropped; wrong values stay, and the schema refuses them."""
    assert with_defaults(changed({path: given}))["spec"].get(path.split(".")[1], "absent") == kept


def test_the_given_document_is_not_changed() -> None:
    """Defaults go into a copy."""
    document = base()
    with_defaults(document)
    assert document == base()
