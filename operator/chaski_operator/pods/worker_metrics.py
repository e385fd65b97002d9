"""What worker Pods report on `/metrics`, parsed and combined for the autoscaler. Pure.

A Pod's page is not trusted: a user who may create Pods in the namespace could have written it.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SUMMED = {
    "chaski_lanes": "lanes",
    "chaski_lanes_limit": "lanes_limit",
    "chaski_held_bytes": "held_bytes",
    "chaski_held_bytes_limit": "held_bytes_limit",
    "chaski_subjects": "subjects",
    "chaski_attempts_total": "attempts",
}
_MAXIMA = {"chaski_attempt_mean_seconds": "mean", "chaski_queue_oldest_received_age_seconds": "oldest"}
_REASONS = {"chaski_shortage": "shortages", "chaski_target_held": "holds"}  # by reason and allow rule
METRICS = (*_SUMMED, *_MAXIMA, *_REASONS)  # those that are read
_READ = frozenset(METRICS)

# A line with a sample: https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details. The parser of
# prometheus_client takes 30 µs for a line, and accepts pages that Prometheus refuses.
_LINE = re.compile(r'([a-z_]+)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*)\} (\S+)(?: -?[0-9]+)?')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|[+-]Inf|NaN")
_ESCAPED = re.compile(r"\\(.)")
_MAX_SAMPLES = 10_000  # that are read; a worker has at most 2,001 series of a metric
_MAX_VALUE = 1e15  # above any count of a worker; below it sums are exact


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
    holds: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule


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
    holds: frozenset[tuple[str, str]] = frozenset()  # reason and allow rule of the targets that some of them hold


def figures(page: str) -> PodFigures | None:
    """The figures of a page in Prometheus' text format; None for any page that no worker writes.

    That is one without lanes, with a sample that is malformed, negative, above 10^15 or there twice, or with a sum that is
    not a number. A mean or an age that is not a number is unknown.
    """
    sums: dict[str, float] = {}
    maxima: dict[str, float] = {}
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in _REASONS.values()}
    try:
        for name, labels, value in _samples(page):
            if name in _REASONS:
                if value > 0:
                    found[_REASONS[name]].add((labels.get("reason", ""), labels.get("target", "")))
            elif name in _SUMMED:
                sums[_SUMMED[name]] = sums.get(_SUMMED[name], 0.0) + _count(value)
            elif math.isfinite(value):
                maxima[_MAXIMA[name]] = max(maxima.get(_MAXIMA[name], 0.0), _count(value))
    except ValueError:
        return None
    if "lanes" not in sums or "lanes_limit" not in sums:
        return None
    full = sums["lanes"] >= sums["lanes_limit"] or sums.get("held_bytes", 0) >= sums.get("held_bytes_limit", 1)
    return PodFigures(
        lanes=int(sums["lanes"]),
        full=full,
        subjects=int(sums.get("subjects", 0)),
        attempts=int(sums.get("attempts", 0)),
        attempt_seconds=maxima.get("mean"),
        oldest_received_age=maxima.get("oldest"),
        shortages=frozenset(found["shortages"]),
        holds=frozenset(found["holds"]),
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
        holds=frozenset().union(*(each.holds for each in pods)),
    )


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of the samples that are read.

    Raises:
        ValueError: a sample is malformed or there twice, or there are too many.
    """
    seen: set[str] = set()
    for line in page.split("\n"):
        if line.partition("{")[0] not in _READ:
            continue
        found = _LINE.fullmatch(line)
        if found is None or not _NUMBER.fullmatch(found[3]):
            raise ValueError("a line is not a sample")
        series = line[: found.end(2)]
        if series in seen or len(seen) >= _MAX_SAMPLES:
            raise ValueError("a sample is there twice, or there are too many")
        seen.add(series)
        labels = {name: _unescaped(value) for name, value in _LABEL.findall(found[2])} if found[1] in _REASONS else {}
        yield found[1], labels, float(found[3])


def _count(value: float) -> float:
    if not 0 <= value <= _MAX_VALUE:  # NaN neither
        raise ValueError("a value that no worker has")
    return value


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)
