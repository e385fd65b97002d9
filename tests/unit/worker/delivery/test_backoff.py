"""The backoff between calls of a backend."""

import pytest

from chaski_worker.delivery.backoff import backoff_seconds


@pytest.mark.parametrize(
    ("failures", "random", "seconds"),
    [(1, 0.0, 0.05), (1, 1.0, 0.1), (3, 1.0, 0.4), (9, 1.0, 20.0), (10_000, 0.0, 10.0)],
)
def test_backoff_doubles_up_to_its_cap(failures: int, random: float, seconds: float) -> None:
    """0.1 s, doubled with each failure, at most 20 s, and by chance down to half of that."""
    assert seconds == pytest.approx(backoff_seconds(failures, random))
