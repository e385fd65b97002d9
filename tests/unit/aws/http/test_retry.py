"""How often and how soon a call is tried again."""

import pytest

from chaski_aws.http.responses import Kind
from chaski_aws.http.retry import MAX_DELAY_SECONDS, MAX_TRIES, RetryBudget, longest_delay

TRANSIENT = [Kind.CONNECTION, Kind.SERVER, Kind.THROTTLED, Kind.TIMEOUT]


@pytest.mark.parametrize("kind", TRANSIENT)
def test_delay_is_drawn_from_nothing_to_the_longest(kind: Kind) -> None:
    """Full jitter: callers that failed together do not come back together."""
    assert RetryBudget().delay(kind, 1, 0.0) == 0
    assert RetryBudget().delay(kind, 2, 0.5) == longest_delay(kind, 2) / 2


def test_longest_delay_doubles_up_to_its_bound() -> None:
    """And throttling starts higher."""
    assert [longest_delay(Kind.SERVER, tries) for tries in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert longest_delay(Kind.THROTTLED, 1) == 0.5
    assert longest_delay(Kind.SERVER, 50) == MAX_DELAY_SECONDS


@pytest.mark.parametrize("kind", [Kind.REJECTED, Kind.CREDENTIALS, Kind.SKEWED])
def test_what_would_fail_again_is_not_tried_again(kind: Kind) -> None:
    """No delay helps."""
    assert RetryBudget().delay(kind, 1, 0.5) is None


def test_tries_end() -> None:
    """The first and two more."""
    delays = [RetryBudget().delay(Kind.SERVER, tries, 0.0) for tries in range(1, MAX_TRIES + 1)]
    assert delays == [0.0, 0.0, None]


def test_budget_ends_retries_of_all_and_success_gives_them_back() -> None:
    """A service in trouble is asked once for each call, until it answers again."""
    budget = RetryBudget(size=10)
    assert budget.delay(Kind.TIMEOUT, 1, 0.0) == 0
    assert budget.delay(Kind.SERVER, 1, 0.0) is None
    for _ in range(5):
        budget.succeeded()
    assert budget.delay(Kind.SERVER, 1, 0.0) == 0
    assert budget.delay(Kind.SERVER, 1, 0.0) is None


def test_budget_never_grows_beyond_its_size() -> None:
    """A long quiet time saves nothing up."""
    budget = RetryBudget(size=5)
    for _ in range(100):
        budget.succeeded()
    assert budget.delay(Kind.SERVER, 1, 0.0) == 0
    assert budget.delay(Kind.SERVER, 1, 0.0) is None
