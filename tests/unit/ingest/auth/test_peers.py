"""The number of ready Pods in EndpointSlices."""

from typing import Any

import pytest

from chaski_ingest.auth.peers import pod_count, ready_pods


def endpoint(pod: str, address: str, **conditions: bool) -> dict[str, Any]:
    """An endpoint of a Pod."""
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        (None, set()),
        ([], set()),
        ([endpoint("a", "10.0.0.1", ready=True), endpoint("b", "10.0.0.2", ready=True)], {"a", "b"}),
        ([endpoint("a", "10.0.0.1", ready=True), endpoint("b", "10.0.0.2", ready=False)], {"a"}),
        ([endpoint("a", "10.0.0.1"), {"addresses": ["10.0.0.9"]}], {"a", "10.0.0.9"}),
        ([endpoint("a", "10.0.0.1", ready=False, serving=True, terminating=True)], set()),
    ],
)
def test_ready_pods_of_a_slice(endpoints: Any, expected: set[str]) -> None:
    """A missing condition counts as ready; a terminating Pod is not."""
    assert ready_pods({"metadata": {}, "endpoints": endpoints}) == expected


def test_a_pod_in_two_slices_counts_once_and_none_is_no_number() -> None:
    """A Service of two families of addresses has a slice for each. Without a ready Pod the last number stays."""
    assert pod_count([frozenset("ab"), frozenset("ab"), frozenset("c")], 1) == 3
    assert pod_count([], 4) == 4
    assert pod_count([frozenset()], 4) == 4
