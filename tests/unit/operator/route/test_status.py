"""The operator's part of a route's status."""

import copy
from typing import Any

import pytest

from chaski_core.route.resolved import Generation
from chaski_operator.route.conditions import NEEDED, good
from chaski_operator.route.status import Findings, is_current, rows_of, status_of
from unit.operator.making import resolved_of, route_of

FINDINGS = Findings(7, [good(each, "Good") for each in NEEDED], resolved_of(route_of()), replicas=2)


def status(known: dict[str, Any] | None = None, now: str = "now", findings: Findings = FINDINGS) -> dict[str, Any]:
    """The status that follows."""
    return status_of(findings, known or {}, now)


def test_nothing_is_written_where_nothing_changed() -> None:
    """Another moment is no change, nor is what the autoscaler says beside it."""
    live = status()
    live["conditions"].append({"type": "Autoscaling", "status": "True", "reason": "Steady", "message": ""})
    live["queues"][0]["visible"] = 12
    live["queues"].append({"name": "only-counted", "visible": 1})
    assert is_current(status(live, "later"), live)


@pytest.mark.parametrize("change", ["condition", "row more", "row less", "url", "generation", "time"])
def test_a_difference_is_written(change: str) -> None:
    """Whatever of ours is not as it should be."""
    live = copy.deepcopy(status())
    if change == "condition":
        live["conditions"][1]["reason"] = "Other"
    elif change == "row more":
        live["queues"].append({"name": "messages.g0", "role": "Queue", "state": "Draining"})
    elif change == "row less":
        del live["queues"][1]
    elif change == "url":
        live["resolved"]["generations"][0]["queues"][0]["urls"].append("more")
    elif change == "generation":
        live["observedGeneration"] = 6
    else:
        assert is_current(status(live, "later"), live)
        return
    assert not is_current(status(live), live)


def test_what_could_not_be_seen_stays_as_it_was() -> None:
    """Ingest goes on with the queues that it knows while AWS can't be looked at."""
    live = status()
    blind = status(live, findings=Findings(8, [good("Accepted", "Valid")]))
    assert blind["resolved"] == live["resolved"]
    assert blind["queues"] == live["queues"]
    assert blind["conditions"][0]["status"] == "Unknown"


def test_older_generations_and_retired_rungs_have_rows_of_their_own() -> None:
    """They say that they run empty."""
    rows = rows_of(
        resolved_of(route_of(), Generation(1, {"messages": ("q",)}), retired=("gone",)), {"messages.g1": "x"}
    )
    draining = {row.name: row.message for row in rows if row.state == "Draining"}
    assert draining == {"messages.g1": "x", "rung-gone": ""}
    assert len({row.name for row in rows}) == len(rows)
