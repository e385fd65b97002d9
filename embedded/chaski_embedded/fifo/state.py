"""The state of one FIFO queue and its changes over time: what becomes due, visible or deliverable. Pure.

Only what decides the next delivery is kept here: sequence numbers by group, and a record for each message that was ever
received. Bodies stay on disk, and so do the groups of messages far from the front. A message that waits in a deep group
or far from the front costs 8 bytes, one that waits nearer (not yet due, or not in a group yet) about 50, a group about
430 (measured).
"""

import bisect
import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from chaski_embedded.fifo.deduplication import DedupWindow
from chaski_embedded.fifo.groups import Group, ReadyGroups
from chaski_embedded.fifo.model import InFlight, Settings
from chaski_embedded.fifo.sequence import first_sequence_at, time_of

#: The groups of waiting messages, which are stored, in the order of the given sequence numbers.
GroupsOf: TypeAlias = Callable[[Sequence[int]], Iterable[str]]

_NEAR = 10_000  # messages at the front whose groups are in memory
_CHUNK = 1_000  # messages whose groups are read at once
# As many messages are in groups as a receive needs to find full batches, and enough groups that were never received to
# serve all of these before those that returned later. So a million waiting messages need no million groups in memory.
_IN_GROUPS = 20_000
_READY = 100  # more groups than one receive returns


class PendingList:
    """Messages in the order of sending that are not in a group yet."""

    def __init__(self, groups_of: GroupsOf | None) -> None:
        """`groups_of`: None keeps all groups in memory."""
        self._groups_of = groups_of
        self._sequences: deque[int] = deque()
        self._groups: deque[str] = deque()
        self._far = array("q")  # behind these, without their groups

    def __len__(self) -> int:
        return len(self._sequences) + len(self._far)

    @property
    def first(self) -> int:
        return self._sequences[0] if self._sequences else self._far[0]

    def append(self, sequence: int, group: str) -> None:
        if self._groups_of is not None and (self._far or len(self._sequences) >= _NEAR):
            self._far.append(sequence)
        else:
            self._sequences.append(sequence)
            self._groups.append(group)

    def append_stored(self, sequence: int) -> None:
        """Appends a message whose group is read when it is needed."""
        self._far.append(sequence)

    def popleft(self) -> tuple[int, str]:
        if not self._sequences and self._groups_of is not None:
            nearer = self._far[:_CHUNK]
            self._groups.extend(self._groups_of(nearer))
            self._sequences.extend(nearer)
            del self._far[:_CHUNK]
        return self._sequences.popleft(), self._groups.popleft()

    def move_due(self, last: int, to: "PendingList") -> None:
        """Moves the messages up to a sequence number to the end of another list."""
        while self._sequences and self._sequences[0] <= last:
            to.append(self._sequences.popleft(), self._groups.popleft())
        if self._far and not self._sequences and self._far[0] <= last:
            due = bisect.bisect_right(self._far, last)
            to._far.extend(self._far[:due])  # noqa: SLF001 - of the same class
            del self._far[:due]


class QueueState:
    """The messages of a queue. `_advance` applies the passage of time up to `now`, which must not go back."""

    def __init__(self, settings: Settings, groups_of: GroupsOf | None = None) -> None:
        """`groups_of`: reads the groups of stored messages, so that not all of them are in memory; None: they are."""
        self.settings = settings
        self._groups_of = groups_of
        self.changed: set[int] = (
            set()
        )  # messages whose `InFlight` record changed; the owner stores and clears both sets
        self.deleted: set[int] = set()  # messages that were deleted or expired
        self._dedup = DedupWindow(per_group=settings.dedup_per_group)
        self._delayed = PendingList(groups_of)  # not due yet
        self._due = PendingList(groups_of)  # due, and not in a group yet
        self._groups: dict[str, Group] = {}
        self._records: dict[int, InFlight] = {}
        self._ready = ReadyGroups(self._records)
        self._expiries: list[tuple[int, int]] = []  # heap of (until, sequence), with lazy deletion
        self._attempts: dict[
            str, tuple[int, tuple[int, ...]]
        ] = {}  # attempt id -> (at, messages), while a repeat returns them
        self._in_groups = 0  # messages in groups, waiting or in flight
        self._in_flight = 0
        self._oldest_waiting = 0  # no waiting message has a smaller number
        self._releases = 0  # number of messages that became visible again

    def _advance(self, now: int) -> None:
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            self._release(*heapq.heappop(expiries))
        self._prune_expiries()
        if self._delayed:
            self._delayed.move_due(first_sequence_at(now - self.settings.delay_ms + 1) - 1, self._due)
        while (
            self._due
            and self._in_groups < self.settings.scan_window
            and (self._in_groups < _IN_GROUPS or self._ready.unreceived < _READY)
        ):
            sequence, group_id = self._due.popleft()
            group = self._group(group_id)
            group.put(sequence)
            self._in_groups += 1
            self._ready.update(group)

    def _release(self, until: int, sequence: int) -> None:
        record = self._records.get(sequence)
        if record is None or record.until != until:
            return
        group = self._groups[record.group]
        if sequence not in group.in_flight:
            return
        self._end_attempt(record.attempt)
        group.in_flight.remove(sequence)
        group.put(sequence)
        self._releases += 1
        record.position = until, self._releases
        if sequence < self._oldest_waiting:  # noqa: PLR1730 - a call of min() is a tenth of what a message costs here
            self._oldest_waiting = sequence
        self._in_flight -= 1
        self._ready.update(group)

    def _prune_expiries(self) -> None:
        # Entries made stale by a delete or a later hide are removed at the top, or when they are the majority.
        while self._expiries and self._is_stale(self._expiries[0]):
            heapq.heappop(self._expiries)
        if len(self._expiries) > 2 * self._in_flight + 1024:
            self._expiries = [entry for entry in self._expiries if not self._is_stale(entry)]
            heapq.heapify(self._expiries)

    def _is_stale(self, entry: tuple[int, int]) -> bool:
        record = self._records.get(entry[1])
        return record is None or record.until != entry[0]

    def _hide(self, sequence: int, record: InFlight, until: int) -> None:
        record.until = until
        self.changed.add(sequence)
        self._expire_at(until, sequence)

    def _expire_at(self, until: int, sequence: int) -> None:
        heapq.heappush(self._expiries, (until, sequence))

    def _drop(self, sequence: int) -> None:
        self._records.pop(sequence, None)
        self.changed.discard(sequence)
        self.deleted.add(sequence)
        self._in_groups -= 1

    def _update_group(self, group: Group) -> None:
        self._ready.update(group)
        if not group.in_flight and not len(group):
            self._groups.pop(group.id, None)

    def _end_attempt(self, attempt: str) -> None:
        known = self._attempts.pop(attempt, None) if attempt else None
        for sequence in known[1] if known else ():
            record = self._records.get(sequence)
            if record is not None:
                record.attempt = ""

    def _group(self, group_id: str) -> Group:
        group = self._groups.get(group_id)
        if group is None:
            group = self._groups[group_id] = Group(group_id)
        return group

    def _due_at(self, sequence: int) -> int:
        return time_of(sequence) + self.settings.delay_ms

    def _oldest_retained(self, now: int) -> int:
        retention = self.settings.retention_ms
        return 0 if retention is None else first_sequence_at(max(0, now - retention))
