"""Which installation serves a route."""

from typing import Any

import pytest

from chaski_operator.installation import GRACE_SECONDS, Claim, claim_of

LONG = GRACE_SECONDS + 1


def document(named: str | None = None, *, resolved: bool = False, deleted: bool = False) -> dict[str, Any]:
    """A ChaskiRoute whose status names an installation, or none."""
    status = ({"installation": named} if named else {}) | ({"resolved": {}} if resolved else {})
    metadata: dict[str, Any] = {"deletionTimestamp": "2026-11-30T09:00:00Z"} if deleted else {}
    return {"metadata": metadata, "status": status}


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("route", "tagged", "seconds", "claim"),
    [
        pytest.param(document("own"), {"other"}, LONG, Claim.OURS, id="named-whatever-the-tags"),
        pytest.param(document("other"), {"own"}, LONG, Claim.ANOTHERS, id="another-is-named"),
        pytest.param(document("other", deleted=True), {"own"}, LONG, Claim.ANOTHERS, id="another-deletes-it"),
        pytest.param({"metadata": {}}, set(), 0.0, Claim.TAKE, id="new"),
        pytest.param({"metadata": {}}, None, 0.0, Claim.TAKE, id="new-while-AWS-is-away"),
        pytest.param(document(resolved=True), {"own"}, 0.0, Claim.TAKE, id="upgrade-own-queues"),
        pytest.param(document(resolved=True), {"own", "other"}, 0.0, Claim.TAKE, id="upgrade-some-are-own"),
        pytest.param(document(resolved=True), {"other"}, 0.0, Claim.WAIT, id="upgrade-queues-of-another"),
        pytest.param(document(resolved=True), {"other"}, LONG, Claim.REPORT, id="which-does-not-run"),
        pytest.param(document(resolved=True), None, LONG, Claim.REPORT, id="upgrade-while-AWS-is-away"),
        pytest.param(document(deleted=True), None, LONG, Claim.REPORT, id="deleted-while-AWS-is-away"),
    ],
)
def test_claim(route: dict[str, Any], tagged: set[str] | None, seconds: float, claim: Claim) -> None:
    """The name in the status decides; without one, the tags of the queues; without queues, the first one."""
    assert claim_of(route, "own", None if tagged is None else frozenset(tagged), seconds) is claim
