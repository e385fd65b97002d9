"""What follows from an observation of a route."""

from typing import Any

import pytest

from chaski_operator.route.observation import rolled_out
from unit.operator.builders import deployment


@pytest.mark.parametrize(
    ("one", "done"),
    [
        (deployment(), True),
        (deployment(replicas=0), True),
        (deployment(replicas=2, updatedReplicas=1), False),
        (deployment(generation=2, observedGeneration=1), False),
        ({"metadata": {"name": "d", "generation": 1}, "spec": {}}, False),
    ],
)
def test_rollout_is_complete_when_no_older_pod_is_left(one: dict[str, Any], done: bool) -> None:
    """Only then can no worker put messages on a retired rung."""
    assert rolled_out([deployment(), one]) == done
