"""What the console shows, as values; and where it gets them from."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry, QueueCounts


@dataclass(frozen=True, slots=True)
class QueueView:
    """One line of a route: a queue, or a rung. None is unknown."""

    name: str
    counts: QueueCounts | None
    oldest_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class RouteRates:
    """How fast things happen on a route, each a second."""

    accepted: float
    delivered: float
    attempts: float
    failed: float
    dead_letters: float

    @property
    def failing(self) -> float | None:
        """Share of the attempts that fail; None where there are none."""
        return self.failed / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route as it is now."""

    key: str  # namespace/name
    ordering: str
    suspended: bool  # its delivery
    targets: tuple[str, ...]  # names of its allow rules
    queues: tuple[QueueView, ...]
    rungs: tuple[QueueView, ...]
    rates: RouteRates | None  # None: unknown
    trouble: str = ""  # why nothing else is known of it

    @property
    def backlog(self) -> int | None:
        """All messages that are not settled; None where a queue is unknown."""
        if self.trouble:
            return None
        totals = [line.counts.total if line.counts else None for line in (*self.queues, *self.rungs)]
        known = [total for total in totals if total is not None]
        return sum(known) if len(known) == len(totals) else None

    @property
    def oldest_age_seconds(self) -> float | None:
        """Age of the oldest message; None where none is known."""
        ages = [line.oldest_age_seconds for line in (*self.queues, *self.rungs)]
        return max((age for age in ages if age is not None), default=None)


@dataclass(frozen=True, slots=True)
class History:
    """What became of one message."""

    message_id: str  # the identity
    id: str  # the label
    subject: str
    state: str  # pending, delivered or dead-lettered
    attempts: tuple[AttemptEntry, ...]  # oldest first; none where the backend keeps no journal
    replay_of: str | None = None  # of a replay: the identity of the message that was accepted


class Board(Protocol):
    """Tells how the routes are."""

    async def routes(self) -> Sequence[RouteView]:
        """Every route, as it is now."""
        ...

    def keys(self) -> Sequence[str]:
        """Their names, without asking how they are."""
        ...

    def trouble(self) -> str | None:
        """Why the routes may be others by now; None while that would be known."""
        ...


class Rates(Protocol):
    """Tells how fast things happen."""

    async def read(self) -> Mapping[str, RouteRates]:
        """By route; one that is left out is unknown."""
        ...

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        """Seconds that the oldest message is old, by route and line (a rung is `rung-<name>`), where that is known."""
        ...


class Letters(Protocol):
    """Finds dead letters."""

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Those that pass the filter, oldest first."""
        ...

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        """Every one of an identity, its replays, or a label, on that route or on any, oldest first."""
        ...


class Histories(Protocol):
    """Tells what became of a message."""

    async def histories(self, message_id: str) -> Sequence[History]:
        """Those of every message of an identity or of a label, and of their replays, oldest first."""
        ...


class Actions(Protocol):
    """Does something about dead letters. Both say in a sentence what was done."""

    async def replay(self, letters: Sequence[DeadLetter]) -> str:
        """Sends them again, in order for each subject."""
        ...

    async def discard(self, letters: Sequence[DeadLetter]) -> str:
        """Drops them for good."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """All that a console reads from."""

    board: Board
    letters: Letters
    histories: Histories
    actions: Actions | None = None  # None: it only shows
    missing: Callable[[], Mapping[str, str]] = dict  # routes whose letters can't be read now, and why
    command: tuple[str, ...] = ()  # that does the same for everything that a search finds; the search's flags follow
    in_cluster: bool = False  # a ChaskiReplay does that there
