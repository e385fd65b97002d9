"""A backend in memory on the loop's clock, with the real FIFO rules and injected faults.

For tests of users of the ports: hours pass in milliseconds under `looptime`, and any call can be made to fail
before or after it took effect.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chaski_core.dead_letter import (
    Claimed,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKey,
    ReplayClaim,
    ReplayMark,
    claimable,
)
from chaski_core.errors import BackendUnavailableError
from chaski_core.ports import (
    RETENTION_SECONDS,
    AttemptEntry,
    AttemptRecord,
    Failed,
    OutgoingMessage,
    QueueCounts,
    ReceivedMessage,
    Sent,
    VisibilityChange,
)
from chaski_core.retry.control import ControlRecord
from chaski_core.retry.leases import Lease, LeaseTable, LimitKey
from chaski_embedded.fifo.model import HandleFailure, Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.sequence import next_sequence, time_of
from chaski_embedded.leases import EmbeddedLimitLeases

T = TypeVar("T")
EPOCH_MS = 1_800_000_000_000


class LoopClock:
    """Time of the running loop, so that tests own it."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return EPOCH_MS + round(asyncio.get_running_loop().time() * 1000)

    def monotonic(self) -> float:
        """Seconds."""
        return asyncio.get_running_loop().time()


@dataclass
class Faults:
    """Injected faults: `before(action)` is called ahead of each call, `after(action)` when it has taken effect.

    A queue's call takes `seconds(action)` before either. Both may raise BackendUnavailableError. `entry(action, index)` may return a Failed for one entry of a batch.
    """

    before: Callable[[str], None] = lambda _action: None
    after: Callable[[str], None] = lambda _action: None
    entry: Callable[[str, int], Failed | None] = lambda _action, _index: None
    seconds: Callable[[str], float] = lambda _action: 0.0


class MemoryQueue:
    """One queue; implements `ports.Queue`."""

    atomic_batches = False

    def __init__(self, url: str, clock: LoopClock, settings: Settings, faults: Faults) -> None:
        self.url = url
        self.retention_seconds = None if settings.retention_ms is None else settings.retention_ms // 1000
        self.calls: dict[str, int] = defaultdict(int)
        self._clock = clock
        self._faults = faults
        self._rules = FifoQueue(settings)
        self._stored: dict[int, OutgoingMessage] = {}
        self._last = 0
        self._changed = asyncio.Event()

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """As in `chaski_core.ports`."""
        await self._call("send")
        results: list[Sent | Failed] = []
        for index, message in enumerate(messages):
            failed = self._faults.entry("send", index)
            if failed:
                results.append(failed)
                continue
            self._last = next_sequence(self._last, self._now())
            sequence = self._rules.send(self._last, message.group_id, message.deduplication_id, self._now())
            if sequence == self._last:
                self._stored[sequence] = message
            results.append(Sent(self._id(sequence), sequence))
        return self._answer("send", results)

    async def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_seconds: int, attempt_id: str
    ) -> Sequence[ReceivedMessage]:
        """As in `chaski_core.ports`."""
        await self._call("receive")
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            taken = self._rules.receive(
                max_messages, visibility_seconds * 1000, attempt_id, self._now(), self._clock.now_ms()
            )
            if taken or self._clock.monotonic() >= deadline:
                break
            await self._wait(deadline)
        received = []
        for each in taken:
            stored = self._stored[each.sequence]
            received.append(
                ReceivedMessage(
                    message_id=self._id(each.sequence),
                    receipt_handle=f"{each.sequence}-{each.receives}",
                    body=stored.body,
                    group_id=each.group,
                    deduplication_id=stored.deduplication_id,
                    sequence_number=each.sequence,
                    sent_at=EPOCH_MS + time_of(each.sequence),
                    receive_count=each.receives,
                    first_received_at=each.first_at,
                )
            )
        return self._answer("receive", received)

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Failed | None]:
        """As in `chaski_core.ports`."""
        await self._call("delete")
        results: list[Failed | None] = []
        for index, handle in enumerate(receipt_handles):
            sequence, receive = map(int, handle.split("-"))
            failed = self._faults.entry("delete", index)
            results.append(failed or _failed(self._rules.delete(sequence, receive, self._now())))
        return self._answer("delete", results)

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """As in `chaski_core.ports`."""
        await self._call("change_visibility")
        results: list[Failed | None] = []
        for index, change in enumerate(changes):
            sequence, receive = map(int, change.receipt_handle.split("-"))
            failed = self._faults.entry("change_visibility", index)
            if failed is None:
                failed = _failed(self._rules.change_visibility(sequence, receive, change.seconds * 1000, self._now()))
            results.append(failed)
        return self._answer("change_visibility", results)

    async def counts(self) -> QueueCounts:
        """As in `chaski_core.ports`."""
        await self._call("counts")
        return self._rules.counts(self._now())

    def _id(self, sequence: int) -> str:
        return f"{self.url.rpartition('/')[2]}:{sequence}"  # no two queues give the same

    def _now(self) -> int:
        return self._clock.now_ms() - EPOCH_MS

    async def _call(self, action: str) -> None:
        self.calls[action] += 1
        if seconds := self._faults.seconds(action):
            await asyncio.sleep(seconds)
        self._faults.before(action)

    def _answer(self, action: str, results: list[T]) -> list[T]:
        self._changed.set()
        self._changed = asyncio.Event()
        self._faults.after(action)
        return results

    async def _wait(self, deadline: float) -> None:
        event = self._rules.next_event(self._now())
        times = [deadline] if event is None else [deadline, event / 1000]
        pause = max(0.0, min(times) - self._clock.monotonic())
        try:
            async with asyncio.timeout(pause + 0.001):
                await self._changed.wait()
        except TimeoutError:
            return


def _failed(refusal: HandleFailure | None) -> Failed | None:
    return None if refusal is None else Failed("InvalidParameterValue", str(refusal), sender_fault=True)


@dataclass
class MemoryStore:
    """Dead letters in memory; a message that is stored already is left unchanged."""

    faults: Faults
    kept: dict[str, DeadLetter] = field(default_factory=dict)  # by identity
    claims: dict[DeadLetterKey, ReplayClaim] = field(default_factory=dict)

    async def put(self, dead_letter: DeadLetter) -> None:
        """As in `chaski_core.ports`."""
        self.faults.before("put")
        self.kept.setdefault(dead_letter.message_id, dead_letter)
        self.faults.after("put")

    @property
    def letters(self) -> list[DeadLetter]:
        """Oldest first."""
        return sorted(self.kept.values(), key=lambda dead_letter: dead_letter.key)

    async def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> AsyncIterator[DeadLetter]:
        """As in `chaski_core.ports`."""
        for dead_letter in self.letters[:: -1 if newest_first else 1]:
            if wanted.matches(dead_letter):
                yield dead_letter

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """As in `chaski_core.ports`."""
        return [each for each in self.letters if message_id in (each.message_id, each.id, each.replay_of)]

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """As in `chaski_core.ports`."""
        self.faults.before("claim")
        return [self._claim(key, judged, claim) for key, judged in wanted]

    def _claim(self, key: DeadLetterKey, judged: ReplayMark | None, claim: ReplayClaim) -> Claimed:
        dead_letter = self.kept.get(key.message_id)
        if dead_letter is None:
            return Claimed.GONE
        found = claimable(judged, dead_letter.replay, self.claims.get(key), claim)
        if found is Claimed.YES:
            self.claims[key] = claim
        return found

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Marks dead letters as replayed."""
        self.faults.before("mark")
        for key, _ in marks:
            self.claims.pop(key, None)
        for key, dead_letter in list(self.kept.items()):
            for marked, mark in marks:
                if dead_letter.key == marked:
                    self.kept[key] = replace(dead_letter, replay=mark)

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters."""
        self.kept = {key: dead_letter for key, dead_letter in self.kept.items() if dead_letter.key not in keys}


@dataclass
class MemoryRecords:
    """Attempt records in memory."""

    faults: Faults
    kept: dict[str, AttemptRecord] = field(default_factory=dict)
    reads: int = 0

    async def read(self, message_id: str) -> AttemptRecord | None:
        """As in `chaski_core.ports`."""
        self.reads += 1
        self.faults.before("read")
        return self.kept.get(message_id)

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """As in `chaski_core.ports`."""
        self.faults.before("write")
        self.kept[message_id] = replace(record)
        self.faults.after("write")

    async def delete(self, message_id: str) -> None:
        """As in `chaski_core.ports`."""
        self.faults.before("drop")
        self.kept.pop(message_id, None)

    async def hidden(self, route: str) -> AsyncIterator[tuple[str, AttemptRecord]]:
        """As in `chaski_core.ports`."""
        for message_id, record in list(self.kept.items()):
            if record.head is not None and record.head.route == route:
                yield message_id, record


@dataclass
class MemoryControls:
    """Control records in memory."""

    faults: Faults
    kept: dict[tuple[str, str], ControlRecord] = field(default_factory=dict)
    reads: int = 0

    async def read(self, route: str) -> Sequence[ControlRecord]:
        """As in `chaski_core.ports`."""
        self.reads += 1
        self.faults.before("controls")
        return [each for each in self.kept.values() if each.route == route]

    async def write(self, record: ControlRecord) -> None:
        """As in `chaski_core.ports`."""
        self.kept[record.message_id, "" if record.message_id else record.subject] = record

    async def remove(self, record: ControlRecord) -> None:
        """As in `chaski_core.ports`."""
        self.faults.before("uncontrol")
        self.kept = {key: each for key, each in self.kept.items() if each != record}


@dataclass
class MemoryLeases:
    """Leases in memory. A call takes `seconds`, half of them before it takes effect; it is counted."""

    faults: Faults
    kept: EmbeddedLimitLeases = field(default_factory=EmbeddedLimitLeases)
    seconds: float = 0.01
    reads: int = 0
    writes: int = 0

    async def read(self, key: LimitKey) -> LeaseTable:
        """As in `chaski_core.retry.leases`."""
        self.reads += 1
        self.faults.before("leases")
        await asyncio.sleep(self.seconds / 2)
        found = await self.kept.read(key)
        await asyncio.sleep(self.seconds / 2)
        return found

    async def write(self, key: LimitKey, version: int, leases: Sequence[Lease]) -> bool:
        """As in `chaski_core.retry.leases`."""
        self.writes += 1
        self.faults.before("lease")
        await asyncio.sleep(self.seconds / 2)
        is_written = await self.kept.write(key, version, leases)
        await asyncio.sleep(self.seconds / 2)
        self.faults.after("lease")
        return is_written


@dataclass
class MemoryJournal:
    """Attempts in the order they were recorded."""

    entries: list[AttemptEntry] = field(default_factory=list)

    def note(self, entry: AttemptEntry) -> None:
        """As in `chaski_core.ports`."""
        self.entries.append(entry)


class MemoryBackend:
    """Implements `ports.Backend`; queues are created at first use. `keeps`: they have no retention."""

    def __init__(self, clock: LoopClock, *, keeps: bool = False) -> None:
        self.clock = clock
        self.keeps = keeps
        self.faults = Faults()
        self.dead_letters = MemoryStore(self.faults)
        self.attempt_records = MemoryRecords(self.faults)
        self.control_records = MemoryControls(self.faults)
        self.limit_leases = MemoryLeases(self.faults)
        self.journal = MemoryJournal()
        self.queues: dict[str, MemoryQueue] = {}

    def queue(self, url: str) -> MemoryQueue:
        """The queue of that URL, without delay unless `delayed_queue` made it."""
        return self.queues.get(url) or self.delayed_queue(url, 0)

    def delayed_queue(self, url: str, delay_seconds: int) -> MemoryQueue:
        """Makes a queue with a delay."""
        retention = None if self.keeps else RETENTION_SECONDS * 1000
        settings = Settings(delay_ms=delay_seconds * 1000, retention_ms=retention, dedup_per_group=True)
        self.queues[url] = MemoryQueue(url, self.clock, settings, self.faults)
        return self.queues[url]


def refuse_delete(number: int) -> Callable[[str, int], Failed | None]:
    """`Faults.entry` that refuses one delete, counted from 0: the receipt handle is no longer valid."""
    deletes = itertools.count()

    def refuse(action: str, _index: int) -> Failed | None:
        if action == "delete" and next(deletes) == number:
            return Failed("InvalidParameterValue", "The receipt handle has expired", sender_fault=True)
        return None

    return refuse


def unavailable(reason: str = "unavailable") -> BackendUnavailableError:
    """The error that a fault raises."""
    return BackendUnavailableError(reason)
