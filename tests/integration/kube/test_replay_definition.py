"""The API server refuses an invalid ChaskiReplay with a message that names the field."""

import copy
from typing import Any

import pytest

from support.dead_letters.replays import replay
from support.kube.api_server import KubeApi
from support.kube.http import ROUTES, KubeHttp

FULL: dict[str, Any] = {
    "filter": {
        "since": "2026-11-24T10:00:00Z", "until": "2h", "subject": "order-1", "target": "helpdesk", "class": "5xx", "text": "jane",
        "ids": ["019ab0c5-7d5e-7a39-8a6e-3f7c2d1b0a99", "-odd.but_right"],
    },
    "ratePerSecond": 20, "toURL": "https://new.example/in?a=1", "dryRun": True, "again": True, "suspend": True,
    "ttlSecondsAfterFinished": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(kube: KubeApi) -> str:
    """A namespace without an operator."""
    return kube.make_namespace("replays")


def refusal_of(
    kube: KubeApi, place: str, document: dict[str, Any], query: str = "dryRun=All&fieldValidation=Strict"
) -> str | None:
    """The API server's message if it refuses the document, otherwise None."""
    return KubeHttp(kube).refusal("POST", f"{ROUTES}/namespaces/{place}/chaskireplays?{query}", document)


@pytest.mark.parametrize(
    "spec", [{}, FULL, {"toURL": "http://new.example:8080"}], ids=["everything", "all fields", "no path"]
)
def test_a_valid_replay_is_accepted(kube: KubeApi, place: str, spec: dict[str, Any]) -> None:
    """Every field as documented."""
    assert refusal_of(kube, place, replay(place, "orders", **spec)) is None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"filter": None}, "spec.filter: Required value"),
        ({"filter": {"clas": "5xx"}}, 'unknown field "spec.filter.clas"'),
        ({"filter": {"class": "6xx"}}, "spec.filter.class in body should match"),
        ({"filter": {"since": "yesterday"}}, "spec.filter.since in body should match"),
        ({"filter": {"until": "2026-11-24 10:00"}}, "spec.filter.until in body should match"),
        ({"filter": {"subject": ""}}, "spec.filter.subject in body should be at least 1 chars long"),
        ({"filter": {"target": "A B"}}, "spec.filter.target in body should match"),
        ({"filter": {"ids": []}}, "spec.filter.ids in body should have at least 1 items"),
        ({"filter": {"ids": ["a b"]}}, "spec.filter.ids[0] in body should match"),
        ({"routeRef": {"name": "Not A Name"}}, "spec.routeRef.name in body should match"),
        ({"routeRef": {}}, "spec.routeRef.name: Required value"),
        ({"ratePerSecond": 0}, "spec.ratePerSecond in body should be greater than or equal to 1"),
        ({"ratePerSecond": 0.5}, "spec.ratePerSecond in body must be of type int"),  # integer, or int32 from 1.37 on
        ({"toURL": "ftp://new.example/"}, "spec.toURL in body should match"),
        ({"toURL": "https://me:secret@new.example/"}, "spec.toURL in body should match"),
        ({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished in body should be greater than or equal to 0"),
        ({"dryRun": "maybe"}, "spec.dryRun in body must be of type boolean"),
    ],
    ids=str,
)
def test_an_invalid_field_is_named(kube: KubeApi, place: str, spec: dict[str, Any], field: str) -> None:
    """A misspelled filter would select everything."""
    refusal = refusal_of(kube, place, replay(place, "orders", **spec))
    assert refusal is not None
    assert field in refusal


def test_only_suspend_and_ttl_can_be_changed(kube: KubeApi, place: str) -> None:
    """Optional fields can neither be added nor removed."""
    first = replay(place, "orders", **FULL)
    assert refusal_of(kube, place, first, "fieldValidation=Strict") is None
    http = KubeHttp(kube)
    path = f"{ROUTES}/namespaces/{place}/chaskireplays/{first['metadata']['name']}"

    def change(**spec: Any) -> str | None:
        document = copy.deepcopy(http.get(path))
        document["spec"] = {name: value for name, value in (document["spec"] | spec).items() if value is not None}
        return http.refusal("PUT", path, document)

    for field, value in {
        "routeRef": {"name": "other"}, "filter": {}, "ratePerSecond": None, "toURL": None, "dryRun": False, "again": None,
    }.items():  # fmt: skip
        refusal = change(**{field: value})
        assert refusal is not None
        assert f"{field} can't be changed; create a new ChaskiReplay" in refusal
    assert change(suspend=False, ttlSecondsAfterFinished=60) is None
