"""What worker Pods report on `/metrics`, parsed and combined for the autoscaler. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_SUMMED = {
    "chaski_lanes": "lanes",
    "chaski_lanes_limit": "lanes_limit",
    "chaski_held_bytes": "held_bytes",
    "chaski_held_bytes_limit": "held_bytes_limit",
    "chaski_subjects": "subjects",
    "chaski_attempts_total": "attempts",
}
_MAXIMA = {"chaski_attempt_mean_seconds": "mean", "chaski_queue_oldest_received_age_seconds": "oldest"}
_SHORTAGE = "chaski_shortage"
_READ = frozenset([*_SUMMED, *_MAXIMA, _SHORTAGE])


@dataclass(frozen=True, slots=True)
class PodFigures:
    """The figures of one Pod."""

    lanes: int
    full: bool  # it holds as much as its limits allow
    subjects: int
    attempts: int
    attempt_seconds: float | None
    oldest_received_age: float | None = None
    shortages: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule


@dataclass(frozen=True, slots=True)
class Pods:
    """The combined figures of a queue's Pods."""

    reporting: int  # Pods that answered
    unresponsive: int = 0  # ready Pods that did not answer
    full: int = 0  # of those that answered: at their limits, so there may be more subjects than they hold
    lanes: int = 0  # subjects held, in all Pods
    subjects: int = 0  # subjects that one Pod saw within the last minute, the maximum
    attempts: int = 0  # attempts made since the Pods started
    attempt_seconds: float | None = None  # mean duration of an attempt
    oldest_received_age: float | None = None  # seconds, of the oldest message that any of them received recently
    shortages: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule (`all`: any) of what they lack now


def figures(page: str) -> PodFigures | None:
    """The figures of a page in Prometheus' text format; None if it is not a worker's, or a sum on it is not a number."""
    sums: dict[str, float] = {}
    maxima: dict[str, float] = {}
    shortages: set[tuple[str, str]] = set()
    try:
        for sample in _samples(page):
            name, value = sample.name, sample.value
            if name in _SUMMED:
                sums[_SUMMED[name]] = sums.get(_SUMMED[name], 0.0) + value
            elif name in _MAXIMA and math.isfinite(value):
                maxima[_MAXIMA[name]] = max(maxima.get(_MAXIMA[name], 0.0), value)
            elif name == _SHORTAGE and value > 0:
                shortages.add((sample.labels.get("reason", ""), sample.labels.get("target", "")))
    except ValueError:
        return None
    if "lanes" not in sums or "lanes_limit" not in sums or not all(map(math.isfinite, sums.values())):
        return None
    full = sums["lanes"] >= sums["lanes_limit"] or sums.get("held_bytes", 0) >= sums.get("held_bytes_limit", 1)
    return PodFigures(
        lanes=int(sums["lanes"]),
        full=full,
        subjects=int(sums.get("subjects", 0)),
        attempts=int(sums.get("attempts", 0)),
        attempt_seconds=maxima.get("mean"),
        oldest_received_age=maxima.get("oldest"),
        shortages=frozenset(shortages),
    )


def combine(answers: Sequence[PodFigures | None]) -> Pods:
    """The figures of several Pods as one; None stands for a Pod that did not answer.

    The mean duration of an attempt is weighted by the lanes of each Pod.
    """
    pods = [each for each in answers if each is not None]
    known = [(each.attempt_seconds, max(1, each.lanes)) for each in pods if each.attempt_seconds is not None]
    weight = sum(lanes for _, lanes in known)
    return Pods(
        reporting=len(pods),
        unresponsive=len(answers) - len(pods),
        full=sum(each.full for each in pods),
        lanes=sum(each.lanes for each in pods),
        subjects=max((each.subjects for each in pods), default=0),
        attempts=sum(each.attempts for each in pods),
        attempt_seconds=sum(seconds * lanes for seconds, lanes in known) / weight if weight else None,
        oldest_received_age=max((age for each in pods if (age := each.oldest_received_age) is not None), default=None),
        shortages=frozenset().union(*(each.shortages for each in pods)),
    )


def _samples(page: str) -> Iterator[Sample]:
    # Only the lines that are read: a page may have thousands of others, and the parser takes 30 µs for each.
    lines = (line for line in page.splitlines() if line.partition("{")[0] in _READ)
    for family in text_string_to_metric_families("\n".join(lines)):
        yield from family.samples
