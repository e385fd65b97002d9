"""Rate limits of producers."""

from chaski_ingest.auth.rate_limit import RateLimits, TokenBucket


def test_a_bucket_gives_its_rate_and_returns_a_retry_time() -> None:
    """One second of the rate at once, then as it fills."""
    now = 0.0
    bucket = TokenBucket(5, lambda: now)
    assert [bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    now = 0.2
    assert (bucket.take(1), bucket.take(1)) == (0, 1)
    now = 1_000.0
    assert [bucket.take(1) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_a_batch_is_debited_afterwards() -> None:
    """It leaves a debt, so that on average the rate holds."""
    now = 0.0
    bucket = TokenBucket(10, lambda: now)
    assert bucket.take(1) == 0
    bucket.debit(99)
    assert bucket.take(1) == 10
    now = 9.0
    assert bucket.take(1) == 1
    now = 9.2
    assert bucket.take(1) == 0
    bucket.debit(10_000_000)
    assert bucket.take(1) == 3_600  # at most an hour


def test_buckets_are_independent_and_their_number_is_bounded() -> None:
    """Each producer of each route has its own; beyond the limit the least recently used one is dropped."""
    limits = RateLimits(lambda: 0.0)
    assert limits.bucket("a/b", "p", 1).take(1) == 0
    assert limits.bucket("a/b", "p", 1).take(1) == 1
    assert limits.bucket("a/c", "p", 1).take(1) == 0
    assert limits.bucket("a/b", "q", 1).take(1) == 0
    for number in range(10_001):
        limits.bucket("a/b", number, 1)
    assert len(limits._buckets) == 10_000
