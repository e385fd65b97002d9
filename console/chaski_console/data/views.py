"""What the console shows, as values, and the protocols of what it reads them from."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry, QueueCounts


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue or a rung of a route. None means unknown."""

    name: str
    counts: QueueCounts | None
    oldest_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class RouteRates:
    """Rates of a route, each per second."""

    accepted: float
    delivered: float
    attempts: float
    failed: float
    dead_letters: float

    @property
    def failing(self) -> float | None:
        """Share of the attempts that fail; None without attempts."""
        return self.failed / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class RouteView:
    """The current status of a route."""

    key: str  # namespace/name
    ordering: str
    suspended: bool  # its delivery
    targets: tuple[str, ...]  # names of its allow rules
    queues: tuple[QueueView, ...]
    rungs: tuple[QueueView, ...]
    rates: RouteRates | None  # None: unknown
    unserved_reason: str = ""  # if not empty, nothing else of the route is known

    @property
    def backlog(self) -> int | None:
        """Messages on all queues and rungs; None if one of them is unknown."""
        if self.unserved_reason:
            return None
        totals = [queue.counts.total if queue.counts else None for queue in (*self.queues, *self.rungs)]
        known = [total for total in totals if total is not None]
        return sum(known) if len(known) == len(totals) else None

    @property
    def oldest_age_seconds(self) -> float | None:
        """Age of the oldest message; None if unknown."""
        ages = [queue.oldest_age_seconds for queue in (*self.queues, *self.rungs)]
        return max((age for age in ages if age is not None), default=None)


@dataclass(frozen=True, slots=True)
class History:
    """The state and the attempts of one message."""

    message_id: str  # the identity
    id: str  # the label
    subject: str
    state: str  # pending, delivered or dead-lettered
    attempts: tuple[AttemptEntry, ...]  # oldest first; empty if the backend keeps no journal
    replay_of: str | None = None  # of a replay: the identity of the message that was accepted


class RouteStatusSource(Protocol):
    """Reads the status of the routes."""

    async def routes(self) -> Sequence[RouteView]:
        """The current status of every route, by key."""
        ...

    def keys(self) -> Sequence[str]:
        """The keys of the routes, without reading their status."""
        ...

    def stale_reason(self) -> str | None:
        """Why the list of routes may be outdated; None if it is current."""
        ...


class Rates(Protocol):
    """Reads rates and ages by route; a route without an entry is unknown."""

    async def rates(self) -> Mapping[str, RouteRates]:
        """Rates by route."""
        ...

    async def ages(self) -> Mapping[str, Mapping[str, float]]:
        """Age of the oldest message in seconds, by route and by queue (a rung is `rung-<name>`)."""
        ...


class DeadLetters(Protocol):
    """Finds dead letters of all routes."""

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """The dead letters that match, oldest first."""
        ...

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        """The dead letters of an identity, its replays, or a label, on one route or all, oldest first."""
        ...


class Histories(Protocol):
    """Finds histories of messages."""

    async def histories(self, message_id: str) -> Sequence[History]:
        """The histories of the messages of an identity or a label, and of their replays, oldest first."""
        ...


class DeadLetterActions(Protocol):
    """Replays and discards dead letters. Both return a summary to show."""

    async def replay(self, dead_letters: Sequence[DeadLetter]) -> str:
        """Puts the messages back on their queues, in order for each subject."""
        ...

    async def discard(self, dead_letters: Sequence[DeadLetter]) -> str:
        """Deletes the dead letters permanently."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything a console reads from."""

    routes: RouteStatusSource
    dead_letters: DeadLetters
    histories: Histories
    actions: DeadLetterActions | None = None  # None: read-only
    unreadable: Callable[[], Mapping[str, str]] = dict  # routes whose dead letters can't be read now -> reason
    replay_command: tuple[str, ...] = ()  # replays everything that a search finds; the search's flags are appended
    in_cluster: bool = False  # a ChaskiReplay is shown instead of the command
