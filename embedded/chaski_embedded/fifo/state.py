"""The state of one FIFO queue and its changes over time: what becomes due, visible or deliverable. Pure.

Only what decides the next delivery is kept here: sequence numbers by group, and a record for each message that was ever
received. Bodies stay on disk. A message that waits in a deep group costs 8 bytes, one that waits elsewhere (not yet
due, or outside the scan window) about 50, a group about 430 (measured).
"""

import heapq
from collections import deque

from chaski_embedded.fifo.deduplication import DedupWindow
from chaski_embedded.fifo.groups import Group, ReadyGroups
from chaski_embedded.fifo.model import InFlight, Settings
from chaski_embedded.fifo.sequence import first_sequence_at, time_of


class PendingList:
    """Messages in the order of sending that are not in a group yet."""

    def __init__(self) -> None:
        self._sequences: deque[int] = deque()
        self._groups: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def first(self) -> int:
        return self._sequences[0]

    def append(self, sequence: int, group: str) -> None:
        self._sequences.append(sequence)
        self._groups.append(group)

    def popleft(self) -> tuple[int, str]:
        return self._sequences.popleft(), self._groups.popleft()


class QueueState:
    """The messages of a queue. `_advance` applies the passage of time up to `now`, which must not go back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.changed: set[int] = (
            set()
        )  # messages whose `InFlight` record changed; the owner stores and clears both sets
        self.deleted: set[int] = set()  # messages that were deleted or expired
        self._dedup = DedupWindow(per_group=settings.dedup_per_group)
        self._delayed = PendingList()  # not due yet
        self._outside_window = PendingList()  # due
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
        while self._expiries and self._expiries[0][0] <= now:
            self._release(*heapq.heappop(self._expiries))
        self._prune_expiries()
        while self._delayed and self._due(self._delayed.first) <= now:
            self._outside_window.append(*self._delayed.popleft())
        while self._outside_window and self._in_groups < self.settings.scan_window:
            sequence, group_id = self._outside_window.popleft()
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

    def _due(self, sequence: int) -> int:
        return time_of(sequence) + self.settings.delay_ms

    def _oldest_retained(self, now: int) -> int:
        retention = self.settings.retention_ms
        return 0 if retention is None else first_sequence_at(max(0, now - retention))
