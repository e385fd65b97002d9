"""The common parts of a status."""

from chaski_operator.kube.status import condition_false, condition_true, status_conditions


def test_condition_keeps_its_transition_time_while_its_status_is_unchanged() -> None:
    """Even if reason and message change."""
    known = [{"type": "Ready", "status": "False", "lastTransitionTime": "then", "reason": "A"}]
    (same,) = status_conditions([condition_false("Ready", "B", "m")], known, 3, "now")
    assert (same["lastTransitionTime"], same["reason"], same["observedGeneration"]) == ("then", "B", 3)
    (other,) = status_conditions([condition_true("Ready", "B")], known, 3, "now")
    assert other["lastTransitionTime"] == "now"
