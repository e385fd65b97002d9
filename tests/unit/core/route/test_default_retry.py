"""The ladders of a route without `retry`, and what an upgrade makes of them."""

from typing import Any

import pytest

from chaski_core.retry.ladder import GiveUp, LadderState, Reason, Retry, decide
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_status
from chaski_core.route.default_retry import default_retry, with_kept_retry
from chaski_core.route.loading import load_route, validate
from chaski_core.route.model import Ordering, Route
from chaski_core.route.validation.crd import with_defaults
from contract.crd.making import base, changed

HOUR_MS = 3_600_000
STRICT = [5, 60, 900, 3600]
RELAXED = [*STRICT, 21_600, 86_400]


def route(ordering: Ordering) -> Route:
    """A route without `retry`."""
    return load_route(changed({"spec.ordering": ordering.value}))


def failure(key: str) -> Outcome:
    """A failed attempt, by status or class."""
    return Outcome(class_of_status(int(key)), int(key)) if key.isdigit() else Outcome(ErrorClass(key))


def delays(declared: Route, key: str) -> tuple[list[int], Reason]:
    """The delays of the rungs that a message climbs while every attempt fails in the same way, and why it ends."""
    state: LadderState | None = None
    climbed = []
    while isinstance(decided := decide(declared.retry, failure(key), state, 0), Retry):
        climbed.append(decided.rung.delay_seconds)
        state = decided.state
    assert isinstance(decided, GiveUp)
    return climbed, decided.reason


@pytest.mark.parametrize("key", ["500", "503", "599", "408", "425", "429", "timeout", "connection", "tls"])
def test_an_unavailable_target_is_retried_for_31_hours_or_76_minutes(key: str) -> None:
    """Each rung once; in Strict, where the message holds its subject, up to an hour."""
    assert delays(route(Ordering.RELAXED), key) == (RELAXED, Reason.EXHAUSTED)
    assert delays(route(Ordering.STRICT), key) == (STRICT, Reason.EXHAUSTED)
    assert sum(RELAXED) // 3600 == 31
    assert sum(STRICT) // 60 == 76


@pytest.mark.parametrize("ordering", Ordering)
@pytest.mark.parametrize(
    ("key", "climbed", "reason"),
    [
        ("400", [60, 900], Reason.EXHAUSTED),
        ("404", [60, 900], Reason.EXHAUSTED),
        ("410", [], Reason.EXHAUSTED),
        ("301", [], Reason.NO_LADDER),
        ("refused", [], Reason.REFUSED),
    ],
)
def test_a_rejected_request_is_retried_twice_or_never(
    ordering: Ordering, key: str, climbed: list[int], reason: Reason
) -> None:
    """The same in both orderings."""
    assert delays(route(ordering), key) == (climbed, reason)


@pytest.mark.parametrize("ordering", Ordering)
@pytest.mark.parametrize("key", ["503", "429", "timeout", "connection", "tls"])
def test_an_hour_of_outage_leaves_no_dead_letter(ordering: Ordering, key: str) -> None:
    """In virtual time: attempts are made when they are due, and fail during the first hour."""
    declared, now_ms, state = route(ordering), 0, None
    while now_ms < HOUR_MS:
        decided = decide(declared.retry, failure(key), state, now_ms, subject="s")
        assert isinstance(decided, Retry)
        now_ms, state = decided.due_at, decided.state


@pytest.mark.parametrize("ordering", Ordering)
def test_the_default_is_a_complete_and_valid_retry(ordering: Ordering) -> None:
    """A resolved route contains it, so that another release reads the same ladders."""
    written = changed({"spec.ordering": ordering.value, "spec.retry": default_retry(ordering)})
    assert validate(written) == []
    assert with_defaults(written)["spec"]["retry"] == default_retry(ordering)
    assert route(ordering).document["spec"]["retry"] == default_retry(ordering)
    assert load_route(written).retry == route(ordering).retry


def test_a_route_with_retry_gets_nothing_of_the_default() -> None:
    """As it is stored for a route of the first release, which the API server has filled in."""
    own = {"rungs": [], "ladders": [{"class": "503", "rungs": []}]}
    loaded = load_route(changed({"spec.retry": own}))
    assert loaded.retry.rungs == ()
    assert [each.error_class for each in loaded.retry.ladders] == ["503"]


KEPT = {"rungs": [{"name": "r", "delaySeconds": 9}], "ladders": [{"class": "any", "rungs": ["r"]}]}


def stored(generation: int = 3, observed: int = 3, kept: Any = KEPT, **spec: Any) -> dict[str, Any]:
    """A route as the API server stores it."""
    document = base()
    document["metadata"]["generation"] = generation
    document["spec"] |= spec
    document["status"] = {"resolved": {"observedGeneration": observed, "retry": kept}}
    return document


def test_a_resolved_route_keeps_the_defaults_of_its_release_until_its_spec_changes() -> None:
    """A status of the first release has no `retry`: then the spec has it, filled in by the API server."""
    kept = with_kept_retry(stored())
    assert kept is not None
    assert kept["spec"] == {**base()["spec"], "retry": KEPT}
    assert with_kept_retry(stored(generation=4)) is None
    assert with_kept_retry(stored(kept=None)) is None
    assert with_kept_retry(stored(retry={"rungs": [], "ladders": []})) is None
    assert with_kept_retry(base()) is None
