"""How many messages a producer may send."""

from chaski_ingest.auth.rate_limit import Bucket, RateLimits


def test_a_bucket_gives_its_rate_and_says_when_there_is_more() -> None:
    """A second's worth at once, then as it fills."""
    now = 0.0
    bucket = Bucket(5, lambda: now)
    assert [bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    now = 0.2
    assert (bucket.take(1), bucket.take(1)) == (0, 1)
    now = 1_000.0
    assert [bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_a_batch_is_paid_for_afterwards() -> None:
    """It leaves a debt, so that on average the rate holds."""
    now = 0.0
    bucket = Bucket(10, lambda: now)
    assert bucket.take(1) == 0
    bucket.charge(99)
    assert bucket.take(1) == 10
    now = 9.0
    assert bucket.take(1) == 1
    now = 9.2
    assert bucket.take(1) == 0
    bucket.charge(10_000_000)
    assert bucket.take(1) == 3_600  # nobody is told to come back next week


def test_buckets_are_apart_and_bounded() -> None:
    """Each producer of each route has its own; the oldest goes when there are too many."""
    limits = RateLimits(lambda: 0.0)
    assert limits.of("a/b", "p", 1).take(1) == 0
    assert limits.of("a/b", "p", 1).take(1) == 1
    assert limits.of("a/c", "p", 1).take(1) == 0
    assert limits.of("a/b", "q", 1).take(1) == 0
    for number in range(10_001):
        limits.of("a/b", number, 1)
    assert len(limits._buckets) == 10_000
