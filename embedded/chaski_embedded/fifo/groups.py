"""Messages of a group, and the order of groups. Pure and in memory: sequence numbers only."""

import bisect
import heapq
from array import array
from collections.abc import Iterator, Mapping

from chaski_embedded.fifo.model import InFlight, QueuePosition
from chaski_embedded.fifo.sequence import time_of

_SLACK = 16  # free slots kept in front: at most 10 messages of a group are in flight, and return there


class Group:
    """One message group: its waiting messages, in order, and those in flight.

    A message is deliverable iff no earlier one of its group is in flight (AWSV: research/sqs.md §1.2 rule 4).
    """

    __slots__ = ("_start", "_waiting", "id", "in_flight", "ready_at")

    def __init__(self, group_id: str) -> None:
        self.id = group_id
        self.in_flight: list[int] = []  # ascending
        self.ready_at: int | QueuePosition | None = None  # the group's key in `ReadyGroups`
        self._waiting = array("q")  # ascending from _start on: 8 bytes a message
        self._start = 0

    def __len__(self) -> int:
        return len(self._waiting) - self._start

    def __iter__(self) -> Iterator[int]:
        return iter(self._waiting[self._start :])

    @property
    def first(self) -> int | None:
        """The earliest waiting message, deliverable or not."""
        return self._waiting[self._start] if len(self) else None

    @property
    def deliverable(self) -> int | None:
        """The earliest message that can be received now."""
        first = self.first
        return None if first is None or (self.in_flight and self.in_flight[0] < first) else first

    def put(self, sequence: int) -> None:
        """Inserts a message in order: nearly always at the end (sent) or at the front (visible again)."""
        waiting, start = self._waiting, self._start
        if not len(self) or sequence > waiting[-1]:
            waiting.append(sequence)
        elif start and sequence < waiting[start]:
            self._start = start - 1
            waiting[start - 1] = sequence
        else:
            waiting.insert(bisect.bisect_left(waiting, sequence, lo=start), sequence)

    def pop(self) -> int:
        """Removes the earliest waiting message."""
        sequence = self._waiting[self._start]
        self._start += 1
        if self._start > 2 * _SLACK and self._start > len(self._waiting) // 2:
            del self._waiting[: self._start - _SLACK]
            self._start = _SLACK
        return sequence

    def add_in_flight(self, sequence: int) -> None:
        """Adds a message that was popped to those in flight."""
        bisect.insort(self.in_flight, sequence)


class ReadyGroups:
    """Groups with a deliverable message, ordered by how long that message has been deliverable.

    A message is deliverable since it was sent, or since it became visible again. So a group that becomes visible again
    is served last, and a head that keeps failing starves no other group. All recordings of AWS agree with this rule
    (tests/unit/embedded/fifo/test_queue.py), though AWS promises no order between groups.

    Two heaps with lazy deletion: of the sequence numbers of messages that were never received, and of the positions of
    those that were. A heap entry is valid only while it is the key of a group.
    """

    def __init__(self, records: Mapping[int, InFlight]) -> None:
        """`records`: of the messages that were ever received, by sequence number; read only."""
        self._records = records
        self._sent: list[int] = []
        self._returned: list[QueuePosition] = []
        self._groups: dict[int | QueuePosition, Group] = {}  # by heap entry
        self.unreceived = 0  # groups whose first message was never received

    def __len__(self) -> int:
        return len(self._groups)

    def update(self, group: Group) -> None:
        """Updates the order after a change of a group."""
        before, head = group.ready_at, group.deliverable
        if head is None:
            if before is not None:
                self._remove(group)
            return
        record = self._records.get(head)
        ready_at = head if record is None or record.position is None else record.position
        if ready_at == before:
            return
        if before is not None:
            self._remove(group)
        group.ready_at = ready_at
        self._groups[ready_at] = group
        if isinstance(ready_at, tuple):
            heapq.heappush(self._returned, ready_at)
        else:
            self.unreceived += 1
            heapq.heappush(self._sent, ready_at)
        if len(self._sent) + len(self._returned) > 2 * len(self._groups) + 64:
            self._compact()

    @property
    def first(self) -> int | None:
        """The oldest deliverable message that was never received."""
        while self._sent and self._sent[0] not in self._groups:
            heapq.heappop(self._sent)
        return self._sent[0] if self._sent else None

    def pop(self, delay_ms: int) -> Group | None:
        """Removes the group that has been deliverable for the longest; `update` adds it again.

        `delay_ms`: delay of the queue; a message that was sent is deliverable after it.
        """
        while self._returned and self._returned[0] not in self._groups:
            heapq.heappop(self._returned)
        if self._returned:
            sent = self.first
            if sent is None or self._returned[0][0] < time_of(sent) + delay_ms:
                return self._take(heapq.heappop(self._returned))
        while self._sent:
            sequence = heapq.heappop(self._sent)
            if sequence in self._groups:
                return self._take(sequence)
        return None

    def _take(self, ready_at: int | QueuePosition) -> Group:
        group = self._groups[ready_at]
        self._remove(group)
        return group

    def _remove(self, group: Group) -> None:
        ready_at, group.ready_at = group.ready_at, None
        assert ready_at is not None  # noqa: S101 - the caller found the group here
        del self._groups[ready_at]
        if not isinstance(ready_at, tuple):
            self.unreceived -= 1

    def _compact(self) -> None:
        self._sent = sorted(key for key in self._groups if not isinstance(key, tuple))
        self._returned = sorted(key for key in self._groups if isinstance(key, tuple))
