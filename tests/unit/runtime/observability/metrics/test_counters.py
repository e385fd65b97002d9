import threading

import pytest

from chaski_runtime.observability.metrics.counters import OVERFLOW, CounterTally, HistogramTally


def test_counts_add_up_by_label_values() -> None:
    """Each label set has a total of its own."""
    tally = CounterTally(("a", "b"), limit=10)
    tally.add(("x", "y"))
    tally.add(("x", "y"), 4)
    tally.add(("x", "z"))
    assert tally.totals() == {("x", "y"): 5, ("x", "z"): 1}


@pytest.mark.promise(12)
def test_label_sets_beyond_the_limit_are_counted_together() -> None:
    """Known label sets stay separate, and the sum stays right."""
    tally = CounterTally(("a", "b"), limit=2)
    for value in "vwxyzv":
        tally.add((value, "b"))
    assert tally.totals() == {("v", "b"): 2, ("w", "b"): 1, (OVERFLOW, OVERFLOW): 3}


def test_no_count_is_lost_between_threads() -> None:
    """Backends may count from threads of their own."""
    tally = CounterTally((), limit=1)

    def count() -> None:
        for _ in range(5_000):
            tally.add(())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.totals() == {(): 20_000}


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (0.5, 0), (1, 0), (1.001, 1), (2, 1), (2.1, 2), (1e9, 2)], ids=str
)
def test_a_value_is_counted_in_the_first_bucket_whose_bound_is_not_below_it(value: float, bucket: int) -> None:
    """Prometheus' `le`: less or equal."""
    tally = HistogramTally((), bounds=(1, 2), limit=1)
    tally.observe((), value)
    counts, total = tally.distributions()[()]
    assert counts.index(1) == bucket
    assert total == value


@pytest.mark.promise(12)
def test_distributions_beyond_the_limit_are_one() -> None:
    """Under `other`, like counts."""
    tally = HistogramTally(("a",), bounds=(1,), limit=1)
    for value in "xyzx":
        tally.observe((value,), 0.5)
    assert {values: counts for values, (counts, _) in tally.distributions().items()} == {
        ("x",): (2, 0),
        (OVERFLOW,): (2, 0),
    }


@pytest.mark.parametrize("names", [("a",), ("b",), ("b", "a")])
def test_label_sets_that_are_not_retained_are_dropped(names: tuple[str, ...]) -> None:
    """What exceeded the limit stays, as do tallies without these labels."""
    tally = CounterTally(("a", "b", "c"), limit=2)
    for value in "xyz":
        tally.add((value, value, "c"))
    tally.retain(("a", "d"), lambda _: False)
    assert len(tally.totals()) == 3
    tally.retain(names, lambda values: values == ("x",) * len(names))
    assert tally.totals() == {("x", "x", "c"): 1, (OVERFLOW,) * 3: 1}
    tally.add(("y", "y", "c"))
    assert tally.totals()["y", "y", "c"] == 1


def test_distributions_that_are_not_retained_are_dropped() -> None:
    """As counts."""
    tally = HistogramTally(("a",), bounds=(1,), limit=10)
    for value in "xy":
        tally.observe((value,), 0.5)
    tally.retain(("a",), lambda values: values == ("y",))
    assert tally.totals() == {("y",): 1}
