"""The metric label `subject_group`: its number of values is bounded, whatever the subjects are."""

from functools import lru_cache

import re2

from chaski_core.route.model import SubjectGroup

_REMEMBERED_SUBJECTS = 1_024  # a match takes 5 µs, and few subjects send most messages
NONE = "none"
OTHER = "other"


class SubjectGroups:
    """Extracts the label from subjects; keeps at most `max_values` values apart, the first ones."""

    def __init__(self, subject_group: SubjectGroup | None) -> None:
        """`subject_group`: the route's setting; None labels every subject `none`."""
        self._pattern = re2.compile(subject_group.pattern) if subject_group is not None else None
        self._max_values = subject_group.max_values if subject_group is not None else 0
        self._seen: set[str] = set()
        self._cached = lru_cache(_REMEMBERED_SUBJECTS)(self._extract)  # a subject's label never changes

    def label(self, subject: str) -> str:
        """Capture group 1 of the pattern's first match; `none` without one, `other` beyond the limit."""
        return self._cached(subject)

    def _extract(self, subject: str) -> str:
        if self._pattern is None:
            return NONE
        match = self._pattern.search(subject)
        value = match.group(1) if match is not None and self._pattern.groups else None
        if not value:
            return NONE
        if value in self._seen:
            return str(value)
        if len(self._seen) >= self._max_values:
            return OTHER
        self._seen.add(value)
        return str(value)
