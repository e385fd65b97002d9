"""A resolved route as a document, of this release and its neighbours."""

from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.errors import InvalidRouteError
from chaski_core.retry.policy import Rung
from chaski_core.route.loading import load_routes
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue
from chaski_core.route.resolved_document import (
    load_resolved,
    read_resolved_document,
    resolved_document,
    resolved_values,
    resolved_yaml,
)
from chaski_core.route.validation.crd import known_part, route_schema
from chaski_core.route.yaml_documents import read_documents

ROUTE = load_routes(
    """
apiVersion: chaski.dev/v1alpha1
kind: ChaskiRoute
metadata: {name: conversations, namespace: helpdesk}
spec:
  queues:
    - {name: "on", subjects: ["pc_*", "0o17", "y"], partitions: 1}
    - {name: messages, partitions: 2}
  targets: {allow: [{name: helpdesk, url: "https://api.helpdesk.example/hooks/"}]}
"""
)[0]
SQS = "https://sqs.eu-central-1.amazonaws.com/1/"
RESOLVED = ResolvedRoute(
    ROUTE,
    (
        Generation(3, {"messages": (SQS + "old.fifo",)}),
        Generation(4, {"on": (SQS + "a.fifo",), "messages": (SQS + "b.fifo", SQS + "c.fifo")}),
    ),
    (RungQueue(Rung("fast", 5), SQS + "fast.fifo"),),
    (RungQueue(Rung("y", 900), SQS + "y.fifo"),),
    "chaski-helpdesk-conversations-12345678",
)


def test_document_is_written_and_read_without_a_change() -> None:
    """Generations, rungs, retired ones, the table, and the route with its defaults."""
    assert load_resolved(resolved_yaml([RESOLVED, RESOLVED])) == [RESOLVED, RESOLVED]


def test_values_match_the_schema_of_a_routes_status() -> None:
    """They have the form of `status.resolved`, so that ingest reads both by the same code."""
    status = {"status": {"resolved": resolved_values(RESOLVED)}}
    assert known_part(status) == status
    jsonschema.validate(resolved_values(RESOLVED), route_schema()["properties"]["status"]["properties"]["resolved"])


@pytest.mark.promise(5)
def test_fields_of_a_newer_release_are_ignored() -> None:
    """A document of the next release is readable; its new fields are ignored on every level."""
    document: dict[str, Any] = resolved_document(RESOLVED)
    spec = document["route"]["spec"]
    newer = {
        **document,
        "signature": "x",
        "route": {
            **document["route"],
            "mood": 1,
            "spec": {**spec, "color": "red", "delivery": {**spec["delivery"], "speed": 9}},
        },
        "resolved": {**document["resolved"], "fences": [], "rungs": [{**document["resolved"]["rungs"][0], "n": 1}]},
    }
    assert read_resolved_document(newer) == RESOLVED


@pytest.mark.promise(5)
def test_document_of_an_older_release_is_readable() -> None:
    """Only the generations are required."""
    document: dict[str, Any] = resolved_document(RESOLVED)
    older = {**document, "resolved": {"generations": document["resolved"]["generations"]}}
    assert read_resolved_document(older) == replace(RESOLVED, rungs=(), retired_rungs=(), dead_letter_table=None)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a ChaskiRoute": ({"kind": "ChaskiRoute"}, "chaski provision"),
    "no route": ({"route": None}, "route: is not a ChaskiRoute"),
    "nothing made": ({"resolved": None}, "resolved: "),
    "no generation": ({"resolved": {"generations": []}}, "has no generation"),
    "no urls": ({"resolved": {"generations": [{"number": 1, "queues": []}]}}, 'no URLs for queue "on"'),
    "urls is a text": (
        {"resolved": {"generations": [{"number": 1, "queues": [{"name": "on", "urls": "https://x"}]}]}},
        "not a list of texts",
    ),
    "number is missing": ({"resolved": {"generations": [{"queues": []}]}}, "'number' is missing"),
}


@pytest.mark.parametrize(("changes", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_document_is_refused_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    """The error names the invalid part."""
    with pytest.raises(InvalidRouteError, match=reason):
        read_resolved_document(resolved_document(RESOLVED) | changes)


def test_empty_text_is_refused() -> None:
    """The error names the missing kind."""
    with pytest.raises(InvalidRouteError, match="has no ResolvedRoute"):
        load_resolved("---\n")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12))
def test_texts_mean_the_same_to_both_readers_of_yaml(text: str) -> None:
    """`on`, `0o17` and similar texts stay texts for both readers."""
    url = f"https://x/{text}"
    generations = (Generation(1, {"on": (text,), "messages": (url,)}),)
    written = resolved_yaml([replace(RESOLVED, generations=generations)])
    for document in (read_documents(written)[0], yaml.safe_load(written)):
        queues = document["resolved"]["generations"][0]["queues"]
        assert queues == [{"name": "on", "urls": [text]}, {"name": "messages", "urls": [url]}]
