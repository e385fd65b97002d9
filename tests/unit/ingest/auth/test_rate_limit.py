"""Rate limits of producers."""

from chaski_ingest.auth.rate_limit import RateLimits, retry_after


def test_a_batch_is_debited_and_the_wait_is_in_whole_seconds_up_to_an_hour() -> None:
    """A producer of 10 a second that sent 100 waits for 10 seconds; however large its debt, at most an hour."""
    now = 0.0
    bucket = RateLimits(lambda: now).bucket("a/b", "p", 10)
    assert retry_after(bucket.take(1)) == 0
    bucket.debit(99)
    assert retry_after(bucket.take(1)) == 10
    now = 9.05
    assert retry_after(bucket.take(1)) == 1
    now = 9.2
    assert retry_after(bucket.take(1)) == 0
    bucket.debit(10_000_000)
    assert retry_after(bucket.take(1)) == 3_600


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
