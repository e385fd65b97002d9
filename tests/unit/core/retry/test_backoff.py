"""Exponential backoff and its two kinds of jitter."""

import pytest

from chaski_core.retry.backoff import Backoff

BACKOFF = Backoff(0.1, 20.0)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.1), (2, 0.2), (3, 0.4), (8, 12.8), (9, 20.0), (10_000, 20.0)])
def test_the_delay_doubles_up_to_its_bound(failures: int, seconds: float) -> None:
    """0.1 s, doubled with each failure, at most 20 s; also after very many failures."""
    assert BACKOFF.seconds(failures) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("failures", "random", "seconds"),
    [(1, 0.0, 0.05), (1, 1.0, 0.1), (3, 0.5, 0.3), (3, 1.0, 0.4), (9, 1.0, 20.0), (10_000, 0.0, 10.0)],
)
def test_equal_jitter_is_between_half_and_the_whole_delay(failures: int, random: float, seconds: float) -> None:
    """Never an immediate retry."""
    assert BACKOFF.equal_jitter(failures, random) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("failures", "random", "seconds"), [(1, 0.0, 0.0), (1, 1.0, 0.1), (3, 0.5, 0.2), (10_000, 1.0, 20.0)]
)
def test_full_jitter_is_between_zero_and_the_whole_delay(failures: int, random: float, seconds: float) -> None:
    """As AWS defines it."""
    assert BACKOFF.full_jitter(failures, random) == pytest.approx(seconds)
