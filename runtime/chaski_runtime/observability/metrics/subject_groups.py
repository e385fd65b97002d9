"""The metric label `subject_group`: its number of values is bounded, for any subjects and producers.

A route has `maxValues` places. The first values take them. Once none is free, a new value takes the place of

1. the value that was seen least recently, if that was an hour ago, or else
2. the least recently seen value of the producer that has the most places, if the new value's producer has at least two
   fewer. So each producer of a full route can have an equal share of the places, and one that floods a route with values
   only takes places that no other producer wants.

Otherwise the new value counts as `other`. The series of a value that has lost its place end: Prometheus computes rates of
each series before it adds them, so a sum of rates stays right.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from chaski_core.route.model import SubjectGroup

_log = logging.getLogger(__name__)

NONE = "none"
OTHER = "other"
IDLE_SECONDS = 3_600.0
_REMEMBERED_SUBJECTS = 1_024  # a match takes 5 µs, and few subjects send most messages
_ENDED_TOGETHER = 16  # values whose series end at once: it takes a pass over all series


@dataclass(slots=True)
class _Place:
    producer: str | None
    seen_at: float


class SubjectGroups:
    """Extracts the label from subjects; keeps at most `max_values` values apart."""

    def __init__(self, subject_group: SubjectGroup | None, end_series: Callable[[Collection[str]], None]) -> None:
        """No value has a place yet.

        Args:
            subject_group: the route's setting; None labels every subject `none`.
            end_series: ends the series of these values.
        """
        self._pattern = _compiled(subject_group) if subject_group is not None else None
        self._is_void = subject_group is not None and self._pattern is None
        self._max_values = subject_group.max_values if subject_group is not None else 0
        self._end_series = end_series
        self._places: OrderedDict[str, _Place] = OrderedDict()  # the least recently seen first
        self._counts: Counter[str | None] = Counter()  # places by producer
        self._ended: set[str] = set()  # values without a place whose series have not ended yet
        self._value = lru_cache(_REMEMBERED_SUBJECTS)(self._extract)  # a subject's value never changes

    def label(self, subject: str, producer: str | None, now: float) -> str:
        """Capture group 1 of the pattern's first match; `none` without one, `other` for a value without a place.

        Args:
            subject: of a message.
            producer: of the message; None: unknown.
            now: monotonic seconds.
        """
        if self._is_void:
            return OTHER
        value = self._value(subject)
        if value is None:
            return NONE
        place = self._places.get(value)
        if place is not None:
            place.seen_at = now
            self._places.move_to_end(value)
            return value
        if len(self._places) >= self._max_values:
            lost = self._loser(producer, now)
            if lost is None:
                return OTHER
            self._free(lost)
        if value in self._ended:
            self._end()  # before it is counted again
        self._places[value] = _Place(producer, now)
        self._counts[producer] += 1
        return value

    def _loser(self, producer: str | None, now: float) -> str | None:
        """The value that loses its place to a new one of a producer; None if the new one gets none."""
        oldest, place = next(iter(self._places.items()))
        if now - place.seen_at >= IDLE_SECONDS:
            return oldest
        holder = max(self._counts, key=lambda each: self._counts[each])
        if self._counts[holder] < self._counts[producer] + 2:
            return None
        return next(value for value, place in self._places.items() if place.producer == holder)

    def _free(self, value: str) -> None:
        producer = self._places.pop(value).producer
        self._counts[producer] -= 1
        if not self._counts[producer]:
            del self._counts[producer]
        self._ended.add(value)
        if len(self._ended) >= _ENDED_TOGETHER:
            self._end()

    def _end(self) -> None:
        self._end_series(frozenset(self._ended))
        self._ended.clear()

    def _extract(self, subject: str) -> str | None:
        if self._pattern is None:
            return None
        match = self._pattern.search(subject)
        value = match.group(1) if match is not None and self._pattern.groups else None
        return str(value) if value else None


def _compiled(subject_group: SubjectGroup) -> Any:
    """The pattern; None if it takes more than 8 MiB when compiled, which the route's validation does not know."""
    options = re2.Options()
    options.log_errors = False  # to stderr
    try:
        return re2.compile(subject_group.pattern, options)
    except re2.error as error:
        _log.warning(
            "spec.subjectGroup.pattern can't be used, so every subject counts as %s; repeat less, or fewer classes: %s",
            OTHER,
            error,
        )
        return None
