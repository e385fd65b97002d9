"""A console over values that the test sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaski_console.data.dead_letter_index import SingleStore
from chaski_console.data.views import History, QueueView, RouteRates, RouteView, Sources
from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import AttemptEntry, QueueCounts
from chaski_core.retry.ladder import ErrorNote
from support.dead_letters.builder import a_dead_letter
from support.worker.memory_backend import Faults, MemoryStore

NOW = 1_800_000_000_000


class FixedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return NOW

    def monotonic(self) -> float:
        """Seconds."""
        return 0.0


def route_view(key: str = "n/r", **changes: object) -> RouteView:
    """A route with one queue and one rung."""
    values: dict[str, object] = {
        "key": key,
        "ordering": "Relaxed",
        "suspended": False,
        "targets": ("t",),
        "queues": (QueueView("messages", QueueCounts(5, 2, 0), 90.0),),
        "rungs": (QueueView("fast", QueueCounts(0, 0, 3), 12.0),),
        "rates": RouteRates(12.34, 9.0, 20.0, 5.0, 0.5),
    }
    return RouteView(**(values | changes))  # type: ignore[arg-type]  # of a table


def dead_letter(message_id: str = "m-1", at: int = NOW - 60_000, **changes: object) -> DeadLetter:
    """A dead letter of route n/r."""
    values: dict[str, object] = {
        "route": "n/r",
        "dead_lettered_at": at,
        "url": "http://t.example/hook",
        "attempts": 2,
        "errors": (ErrorNote("404", at - 5_000, "HTTP 404", "no such account"),),
        "envelope": {"subject": "s", "body": {"url": "http://t.example/hook", "content": "hello"}},
    }
    return a_dead_letter(message_id, **(values | changes))


def attempt(number: int, outcome: str = "failed", **changes: object) -> AttemptEntry:
    """An attempt of message m-1."""
    values: dict[str, object] = {
        "message_id": "m-1",
        "id": "m-1",
        "subject": "s",
        "route": "n/r",
        "number": number,
        "at": NOW - 10_000,
        "stage": "first" if number == 1 else "retry",
        "outcome": outcome,
        "error_class": "" if outcome == "delivered" else "404",
        "status": 200 if outcome == "delivered" else 404,
        "duration_ms": 12.5,
        "detail": "" if outcome == "delivered" else "HTTP 404",
    }
    return AttemptEntry(**(values | changes))  # type: ignore[arg-type]  # of a table


@dataclass
class FakeRouteStatus:
    """Returns the routes that the test sets."""

    views: list[RouteView] = field(default_factory=lambda: [route_view()])
    stale: str | None = None

    async def routes(self) -> Sequence[RouteView]:
        """Those of `views`."""
        return tuple(self.views)

    def keys(self) -> Sequence[str]:
        """Those of `views`."""
        return [each.key for each in self.views]

    def stale_reason(self) -> str | None:
        """The value of `stale`."""
        return self.stale


@dataclass
class FakeHistories:
    """Returns the histories that the test sets."""

    known: dict[str, History] = field(default_factory=dict)

    async def histories(self, message_id: str) -> Sequence[History]:
        """Those of `known`."""
        return [self.known[message_id]] if message_id in self.known else []


@dataclass
class FakeActions:
    """Records the requested actions."""

    done: list[tuple[str, list[str]]] = field(default_factory=list)

    async def replay(self, dead_letters: Sequence[DeadLetter]) -> str:
        """Records the ids."""
        self.done.append(("replay", [each.id for each in dead_letters]))
        return f"{len(dead_letters)} replayed"

    async def discard(self, dead_letters: Sequence[DeadLetter]) -> str:
        """Records the ids."""
        self.done.append(("discard", [each.id for each in dead_letters]))
        return f"{len(dead_letters)} discarded"


@dataclass
class FakeSources:
    """Everything a console reads from."""

    status: FakeRouteStatus = field(default_factory=FakeRouteStatus)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(Faults()))
    histories: FakeHistories = field(default_factory=FakeHistories)
    actions: FakeActions | None = None
    unreadable: dict[str, str] = field(default_factory=dict)

    async def put(self, *dead_letters: DeadLetter) -> None:
        """Puts dead letters into the store."""
        for each in dead_letters:
            await self.store.put(each)

    @property
    def sources(self) -> Sources:
        """As the console takes them."""
        return Sources(self.status, SingleStore(self.store), self.histories, self.actions, lambda: self.unreadable)
