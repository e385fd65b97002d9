"""Parsing and combination of the metrics of workers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_operator.pods.worker_metrics import METRICS, PodFigures, Pods, combine, figures
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_worker.metrics import LaneReading, WorkerMetrics


def page(*readings: LaneReading, attempts: int = 0) -> str:
    """The page that a worker renders."""
    registry = MetricsRegistry()
    metrics = WorkerMetrics(registry)
    metrics.observe_lanes(lambda: readings)
    for _ in range(attempts):
        metrics.attempts.observe(("n", "r", "q", "first", 'a"}{', "delivered", "none"), 0.1)
    return registry.render().decode()


def reading(lanes: int, held_bytes: int = 5, mean: float | None = 0.25) -> LaneReading:
    """A worker that holds lanes, of 10, and bytes, of 100."""
    return LaneReading("n", "r", "q", lanes, 0, lanes, held_bytes, 10, 100, 5, subjects=7, mean_attempt_seconds=mean)


@pytest.mark.parametrize(
    ("lanes", "full"),
    [(reading(3), False), (reading(10), True), (reading(11), True), (reading(3, held_bytes=100), True)],
    ids=["below the limits", "lanes", "more lanes", "bytes"],
)
def test_page_of_a_worker_is_parsed(lanes: LaneReading, full: bool) -> None:
    """As the worker renders it, including labels with brackets."""
    assert figures(page(lanes, attempts=3)) == PodFigures(lanes.busy_lanes, full, 7, 3, 0.25)


def test_shortages_are_parsed_and_combined() -> None:
    """A gauge of 1 is a shortage, 0 a former one; labels may have any content."""
    lines = (
        'chaski_shortage{namespace="n",reason="descriptors",route="r",target="all"} 1.0\n'
        'chaski_shortage{namespace="n",reason="certificate",route="r",target="a} b\\"c"} 1 1764485000000\n'
        'chaski_shortage{namespace="n",reason="memory",route="r",target="all"} 0.0\n'
    )
    pod = figures(page(reading(1)) + lines)
    assert pod is not None
    assert pod.shortages == {("descriptors", "all"), ("certificate", 'a} b"c')}
    other = replace(pod, shortages=frozenset({("ports", "crm")}))
    assert combine([pod, None, other]).shortages == pod.shortages | {("ports", "crm")}


def test_held_targets_are_parsed_and_combined() -> None:
    """As shortages, apart from them."""
    lines = (
        'chaski_target_held{namespace="n",reason="Breaker",route="r",target="crm"} 1.0\n'
        'chaski_target_held{namespace="n",reason="RetryAfter",route="r",target="crm"} 0.0\n'
    )
    pod = figures(page(reading(1)) + lines)
    assert pod is not None
    assert (pod.holds, pod.shortages) == ({("Breaker", "crm")}, frozenset())
    other = replace(pod, holds=frozenset({("Suspended", "crm")}))
    assert combine([pod, None, other]).holds == {("Breaker", "crm"), ("Suspended", "crm")}


LANES = 'chaski_lanes{queue="q"} 3\nchaski_lanes_limit{queue="q"} 10\n'


@pytest.mark.parametrize(
    "sample",
    [
        'chaski_lanes{queue="r"} NaN',
        'chaski_lanes_limit{queue="r"} NaN',
        'chaski_subjects{queue="r"} NaN',
        'chaski_attempts_total{queue="r"} +Inf',
        'chaski_held_bytes{queue="r"} -Inf',
    ],
)
def test_a_sum_that_is_not_a_number_is_unknown(sample: str) -> None:
    """The Pod counts as unresponsive; one odd page must not fail the whole route's scaling."""
    assert figures(LANES) is not None
    assert figures(f"{LANES}{sample}\n") is None


@pytest.mark.parametrize(
    "sample",
    [
        'chaski_lanes{queue="q"} 3',  # as above
        'chaski_lanes{queue="r"} -1',
        'chaski_lanes{queue="r"} 1e300',
        'chaski_lanes{queue="r"} 1_0',
        'chaski_lanes{queue="r"} \u0661',
        'chaski_lanes{queue="r"}',
        'chaski_lanes{queue="r"} 1 2 3',
        'chaski_lanes{queue="r" 1',
        "chaski_lanes{queue=r} 1",
        "chaski_lanes{",
        'chaski_attempt_mean_seconds{queue="q"} -0.5',
        'chaski_queue_oldest_received_age_seconds{queue="q"} -1',
        'chaski_shortage{reason="memory"} x',
        "\n".join(f'chaski_attempts_total{{queue="{n}"}} 1' for n in range(10_001)),
    ],
    ids=lambda sample: sample[:40],
)
def test_a_page_that_no_worker_writes_is_unknown(sample: str) -> None:
    """Twice the same sample, a negative value, one that no counter reaches, or malformed; never a Pod without work."""
    assert figures(LANES) is not None
    assert figures(f"{LANES}{sample}\n") is None


VALUES = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf", "0x1", "", "1e999", "9" * 400]),
)
LINES = st.builds(
    lambda name, label, value, more: f'{name}{{queue="{label}"}} {value}{more}',
    st.sampled_from([*METRICS, "other"]),
    st.text(max_size=5),
    VALUES,
    st.sampled_from(["", " 17", " x", "\r", "\x00"]),
)


@pytest.mark.promise(12)
@given(st.one_of(st.binary(), st.lists(LINES).map(lambda lines: (LANES + "\n".join(lines)).encode("utf-8", "replace"))))
def test_any_page_gives_figures_in_their_range_or_none(content: bytes) -> None:
    """Whatever a Pod sends, nothing is raised, and no figure is negative, infinite or not a number."""
    pod = figures(content.decode("utf-8", "replace"))
    if pod is not None:
        both = combine([pod, pod])
        numbers = [pod.lanes, pod.subjects, pod.attempts, pod.attempt_seconds, pod.oldest_received_age]
        for number in (*numbers, both.lanes, both.attempt_seconds):
            assert number is None or 0 <= number <= 2e19


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_a_mean_that_is_not_a_number_is_not_known(value: str) -> None:
    """Not zero, which would make it the fastest Pod."""
    pod = figures(f'{LANES}chaski_attempt_mean_seconds{{queue="q"}} {value}\n')
    assert pod is not None
    assert pod.attempt_seconds is None


def test_samples_may_have_timestamps() -> None:
    """A proxy may add them."""
    pod = figures(LANES.replace("\n", " 1764485000000\n"))
    assert pod is not None
    assert (pod.lanes, pod.full) == (3, False)


@pytest.mark.parametrize("text", ["", "not metrics", page(), 'chaski_lanes{state="busy"} many\n'])
def test_page_without_lanes_has_no_figures(text: str) -> None:
    """A worker that does not poll yet has a page without them."""
    assert figures(text) is None


@pytest.mark.parametrize("ages", [(None, None), (60.0, None), (60.0, 3_600.0)])
def test_oldest_received_age_is_the_maximum_over_all_queues(ages: tuple[float | None, ...]) -> None:
    """Of a Pod with several queues; a queue from which nothing was received has none."""
    readings = [
        replace(reading(0), queue=f"q{number}", oldest_received_age_seconds=age) for number, age in enumerate(ages)
    ]
    pod = figures(page(*readings))
    assert pod is not None
    assert pod.oldest_received_age == max((age for age in ages if age is not None), default=None)
    assert combine([pod, None]).oldest_received_age == pod.oldest_received_age


def test_pods_are_summed_with_a_weighted_mean() -> None:
    """An unresponsive one is only counted."""
    pods = [
        PodFigures(30, True, 40, 10, 1.0),
        PodFigures(10, False, 50, 20, 3.0),
        None,
        PodFigures(0, False, 0, 0, None),
    ]
    assert combine(pods) == Pods(3, unresponsive=1, full=1, lanes=40, subjects=50, attempts=30, attempt_seconds=1.5)
    assert combine([]) == Pods(0)
