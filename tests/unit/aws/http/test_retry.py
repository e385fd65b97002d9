"""Number and delays of retries."""

import pytest

from chaski_aws.http.responses import FailureKind
from chaski_aws.http.retry import BACKOFF, MAX_TRIES, THROTTLED_BACKOFF, RetryBudget

TRANSIENT = [FailureKind.CONNECTION, FailureKind.SERVER, FailureKind.THROTTLED, FailureKind.TIMEOUT]


@pytest.mark.parametrize("kind", TRANSIENT)
def test_delay_is_random_between_zero_and_the_longest(kind: FailureKind) -> None:
    """Full jitter: callers that failed together do not retry together."""
    assert RetryBudget().delay(kind, 1, 0.0) == 0
    assert RetryBudget().delay(kind, 2, 0.5) == (0.5 if kind is FailureKind.THROTTLED else 0.1)


def test_longest_delay_doubles_up_to_its_bound() -> None:
    """Throttling starts higher."""
    assert [BACKOFF.seconds(tries) for tries in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert THROTTLED_BACKOFF.seconds(1) == 0.5
    assert BACKOFF.seconds(50) == THROTTLED_BACKOFF.seconds(50) == 5.0


@pytest.mark.parametrize("kind", [FailureKind.REJECTED, FailureKind.CREDENTIALS, FailureKind.SKEWED])
def test_permanent_failures_are_not_retried(kind: FailureKind) -> None:
    """For no delay."""
    assert RetryBudget().delay(kind, 1, 0.5) is None


def test_tries_are_limited() -> None:
    """One and two retries."""
    delays = [RetryBudget().delay(FailureKind.SERVER, tries, 0.0) for tries in range(1, MAX_TRIES + 1)]
    assert delays == [0.0, 0.0, None]


def test_budget_limits_all_retries_and_success_refills_it() -> None:
    """A failing service gets one request per call until it succeeds again."""
    budget = RetryBudget(size=10)
    assert budget.delay(FailureKind.TIMEOUT, 1, 0.0) == 0
    assert budget.delay(FailureKind.SERVER, 1, 0.0) is None
    for _ in range(5):
        budget.succeeded()
    assert budget.delay(FailureKind.SERVER, 1, 0.0) == 0
    assert budget.delay(FailureKind.SERVER, 1, 0.0) is None


def test_budget_never_grows_beyond_its_size() -> None:
    """Successes do not accumulate beyond it."""
    budget = RetryBudget(size=5)
    for _ in range(100):
        budget.succeeded()
    assert budget.delay(FailureKind.SERVER, 1, 0.0) == 0
    assert budget.delay(FailureKind.SERVER, 1, 0.0) is None
