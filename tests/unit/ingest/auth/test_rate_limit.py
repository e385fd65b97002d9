"""Rate limits of producers."""

from bisect import bisect_left

import pytest

from chaski_core.retry.token_bucket import TokenBucket
from chaski_ingest.auth.rate_limit import RateLimits, retry_after, share_of

WINDOW = 10.0


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


def taken_at(rate: int, pods: int, seconds: float) -> list[float]:
    """When one of these Pods accepts messages of a producer that never stops sending."""
    now, times = 0.0, list[float]()
    share = share_of(rate, pods)
    bucket = TokenBucket(share.size, share.per_second, lambda: now)
    while now < seconds:
        wait = bucket.take(1)
        if wait:
            now += wait + 1e-9
        else:
            times.append(now)
    return times


@pytest.mark.promise(14)
@pytest.mark.parametrize("pods", [1, 2, 3, 4, 6, 7, 10, 13, 40])
@pytest.mark.parametrize("rate", [1, 2, 3, 4, 5, 7, 10, 11, 50, 199])
def test_all_pods_together_stay_within_a_tenth_more_than_the_rate(rate: int, pods: int) -> None:
    """In any 10 s while their number is stable. Each accepts all of its share if that is one a second or more, else 55 %.

    With a rate below a tenth of the number of Pods each accepts one message in 10 s, which may be more.
    """
    times = taken_at(rate, pods, 40.0)
    most = max(bisect_left(times, start + WINDOW) - number for number, start in enumerate(times))
    average = pods * (len(times) - bisect_left(times, 20.0)) / 20.0
    if 11 * rate < pods:
        assert most == 1
        return
    assert pods * most <= 1.1 * rate * WINDOW
    whole = rate / pods
    assert (1.0 if rate >= pods else 0.54) * whole <= share_of(rate, pods).per_second <= whole
    assert average >= pods * share_of(rate, pods).per_second - pods / 20.0
    assert average <= rate + pods / 20.0


def test_a_batch_is_paid_for_by_the_pod_that_accepted_it() -> None:
    """It may exceed the share for a moment, and the average stays that of the share."""
    now = 0.0
    limits = RateLimits(lambda: now, lambda: 4)
    bucket = limits.bucket("a/b", "p", 8)
    assert bucket.take(1) == 0
    bucket.debit(199)
    assert bucket.take(1) == pytest.approx(99.5)


def test_a_changed_number_of_pods_changes_each_share_and_forgives_no_debt() -> None:
    """A Pod that starts takes a part of the others' rates, one that ends leaves them its own."""
    now, pods = 0.0, 1
    limits = RateLimits(lambda: now, lambda: pods)
    assert limits.bucket("a/b", "p", 30).wait_seconds(30) == 0
    pods = 3
    assert limits.bucket("a/b", "p", 30).wait_seconds(10) == 0
    assert limits.bucket("a/b", "p", 30).wait_seconds(11) == pytest.approx(0.1)
    limits.bucket("a/b", "p", 30).debit(20)
    pods = 1
    assert limits.bucket("a/b", "p", 30).take(20) == pytest.approx(1.0)
    now = 1.0
    assert limits.bucket("a/b", "p", 30).take(20) == pytest.approx(0.0)


@pytest.mark.promise(12)
def test_ten_thousand_producers_take_no_more_memory_and_keep_their_debts() -> None:
    """Also while the number of Pods changes."""
    pods = 1
    limits = RateLimits(lambda: 0.0, lambda: pods)
    for number in range(10_000):
        limits.bucket("a/b", number, 10).debit(10)
    pods = 2
    assert sum(limits.bucket("a/b", number, 10).take(1) > 0 for number in range(10_000)) == 10_000
    assert len(limits._buckets) == 10_000
