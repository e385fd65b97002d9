"""What a route declares about failures: rungs, ladders, and statuses that are a result."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import mmh3

from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_key

MAX_QUEUE_DELAY_SECONDS = 900  # of SQS: API_SetQueueAttributes, DelaySeconds
_JITTER_SHARE = 0.2  # of a delay, at most; added
_JITTER_FROM_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Rung:
    """One delay step."""

    name: str
    delay_seconds: int

    @property
    def queue_delay_seconds(self) -> int:
        """The part of the delay that the rung's queue makes; for the rest the message is hidden."""
        return min(self.delay_seconds, MAX_QUEUE_DELAY_SECONDS)

    def wait_seconds(self, subject: str) -> float:
        """The delay with jitter: up to a fifth is added from a minute on.

        It is the same for all messages of a subject on this rung, so that they become due in the order in which they came, and
        spreads subjects that failed at the same time.
        """
        if self.delay_seconds < _JITTER_FROM_SECONDS:
            return self.delay_seconds
        spread: int = mmh3.hash(f"{self.name}\0{subject}", signed=False)
        return self.delay_seconds * (1 + _JITTER_SHARE * spread / 2**32)


@dataclass(frozen=True, slots=True)
class Ladder:
    """The retry schedule of one error class: its rungs, and the number of retries on each; there may be none."""

    error_class: str  # a class, a status such as "404", several statuses such as "408,425,429", or "any"
    retries_per_rung: int
    rungs: tuple[str, ...]

    @property
    def retries(self) -> int:
        """The number of retries of a message."""
        return self.retries_per_rung * len(self.rungs)

    @property
    def keys(self) -> list[str]:
        """What it covers: statuses or one class."""
        return [key.strip() for key in self.error_class.split(",")]


class Result(StrEnum):
    """What a route makes of a status that is not a success."""

    DELIVERED = "Delivered"  # as a 2xx
    DISCARD = "Discard"  # no further attempt: a dead letter, or not even that


@dataclass(frozen=True, slots=True)
class StatusRule:
    """The result of some statuses, whatever their ladder."""

    statuses: tuple[str, ...]
    result: Result
    keep: bool = True  # whether a discarded message becomes a dead letter


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A route's rungs, its ladders, and the statuses that it takes as a result."""

    rungs: tuple[Rung, ...]
    ladders: tuple[Ladder, ...]
    outcomes: tuple[StatusRule, ...] = ()
    max_retry_after_seconds: int = 3600  # of what a target asks for by a header
    hold_exhausted: bool = False  # Strict: people decide about a message whose ladder has ended

    def rung(self, name: str) -> Rung:
        """The rung of that name. Raises KeyError for an unknown one."""
        for rung in self.rungs:
            if rung.name == name:
                return rung
        raise KeyError(name)

    def ladder_for(self, key: str) -> Ladder | None:
        """The most specific ladder: status before class before `any`; `any` does not cover `refused`."""
        by_class: Mapping[str, Ladder] = {name: ladder for ladder in self.ladders for name in ladder.keys}
        names = [key, class_of_key(key)]
        if key != ErrorClass.REFUSED:
            names.append("any")
        return next((by_class[name] for name in names if name in by_class), None)

    def result_of(self, key: str) -> Result | None:
        """The declared result of a status; None where its ladder decides."""
        rule = self._rule_of(key)
        return rule.result if rule else None

    def judge(self, outcome: Outcome) -> Outcome:
        """The outcome, delivered or discarded where the route takes its status as that."""
        rule = None if outcome.delivered else self._rule_of(outcome.key)
        if rule is None or (rule.result is Result.DISCARD and rule.keep):
            return outcome
        if rule.result is Result.DISCARD:
            return replace(outcome, discarded=True)
        return replace(outcome, error_class=None, detail=f"{outcome.detail}: counts as delivered")

    def _rule_of(self, key: str) -> StatusRule | None:
        return next((rule for rule in self.outcomes if key in rule.statuses), None)
