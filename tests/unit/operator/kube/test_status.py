"""The common parts of a status."""

import re

import pytest

from chaski_core.route.validation.crd import route_schema
from chaski_operator.kube.status import condition_false, condition_true, status_conditions


def test_condition_keeps_its_transition_time_while_its_status_is_unchanged() -> None:
    """Even if reason and message change."""
    known = [{"type": "Ready", "status": "False", "lastTransitionTime": "then", "reason": "A"}]
    (same,) = status_conditions([condition_false("Ready", "B", "m")], known, 3, "now")
    assert (same["lastTransitionTime"], same["reason"], same["observedGeneration"]) == ("then", "B", 3)
    (other,) = status_conditions([condition_true("Ready", "B")], known, 3, "now")
    assert other["lastTransitionTime"] == "now"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("Refused", "Refused"),
        ("AWS.SimpleQueueService.NonExistentQueue", "AWSSimpleQueueServiceNonExistentQueue"),
        ("502", "Status502"),
        ("Bad Gateway\n", "BadGateway"),
        ("_", "Failed"),
        ("", "Failed"),
        ("<html>" * 500, ("html" * 500)[:128]),
        ("Zugriff verweigert: \u00e4", "Zugriffverweigert"),
    ],
)
def test_a_condition_is_one_that_the_api_server_accepts(code: str, reason: str) -> None:
    """Reasons are codes of others, and messages their words; an invalid one would make it refuse the whole status."""
    (made,) = status_conditions([condition_false("Ready", code, "\u00e4\U0001f999\x00" * 40_000)], (), 3, "now")
    assert made["reason"] == reason
    fields = route_schema()["properties"]["status"]["properties"]["conditions"]["items"]["properties"]
    assert re.fullmatch(fields["reason"]["pattern"], made["reason"])
    assert len(made["reason"]) <= 128
    assert len(made["message"]) <= fields["message"]["maxLength"]
