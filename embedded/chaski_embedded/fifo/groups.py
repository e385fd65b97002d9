"""The messages of one group, and which group is next. Pure and in memory: sequence numbers only."""

import bisect
import heapq
from array import array
from collections.abc import Iterator, Mapping

from chaski_embedded.fifo.model import InFlight, Place
from chaski_embedded.fifo.sequence import time_of

_SLACK = 16  # free places kept in front: at most 10 messages of a group are held, and come back there


class Group:
    """One message group: what waits in it, in order, and what is held.

    A message is deliverable iff no earlier one of its group is held (AWSV: research/sqs.md §1.2 rule 4).
    """

    __slots__ = ("_start", "_waiting", "held", "id", "ready_at")

    def __init__(self, group_id: str) -> None:
        self.id = group_id
        self.held: list[int] = []  # ascending
        self.ready_at: int | Place | None = None  # the first deliverable message as `ReadyGroups` knows it
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
        """The earliest message that can be taken now."""
        first = self.first
        return None if first is None or (self.held and self.held[0] < first) else first

    def put(self, sequence: int) -> None:
        """Adds a message at its place: nearly always the end (sent) or the front (given back)."""
        waiting, start = self._waiting, self._start
        if not len(self) or sequence > waiting[-1]:
            waiting.append(sequence)
        elif start and sequence < waiting[start]:
            self._start = start - 1
            waiting[start - 1] = sequence
        else:
            waiting.insert(bisect.bisect_left(waiting, sequence, lo=start), sequence)

    def pop(self) -> int:
        """Takes the earliest waiting message out."""
        sequence = self._waiting[self._start]
        self._start += 1
        if self._start > 2 * _SLACK and self._start > len(self._waiting) // 2:
            del self._waiting[: self._start - _SLACK]
            self._start = _SLACK
        return sequence

    def hold(self, sequence: int) -> None:
        """Notes a message that was popped as held."""
        bisect.insort(self.held, sequence)


class ReadyGroups:
    """Groups with a deliverable message, the one first whose message has been deliverable for the longest.

    A message is deliverable since it was sent, or since it was given back. So a group that becomes visible again goes to
    the end of the line, and a head that fails again and again starves no other. All recordings of AWS agree with this
    rule (tests/unit/embedded/test_fifo.py), though AWS promises no order between groups.

    Two heaps with lazy deletion, of the sequence numbers of messages that were never received and of the places of those
    that were. An entry counts only while a group is known to be ready at it.
    """

    def __init__(self, records: Mapping[int, InFlight]) -> None:
        """`records`: of the messages that were ever received, by sequence number; only read."""
        self._records = records
        self._sent: list[int] = []
        self._back: list[Place] = []
        self._groups: dict[int | Place, Group] = {}  # by what is in the heaps

    def __len__(self) -> int:
        return len(self._groups)

    def update(self, group: Group) -> None:
        """Takes note of what changed in a group."""
        before, head = group.ready_at, group.deliverable
        if head is None:
            if before is not None:
                del self._groups[before]
                group.ready_at = None
            return
        record = self._records.get(head)
        ready_at = head if record is None or record.place is None else record.place
        if ready_at == before:
            return
        if before is not None:
            del self._groups[before]
        group.ready_at = ready_at
        self._groups[ready_at] = group
        if isinstance(ready_at, tuple):
            heapq.heappush(self._back, ready_at)
        else:
            heapq.heappush(self._sent, ready_at)
        if len(self._sent) + len(self._back) > 2 * len(self._groups) + 64:
            self._compact()

    @property
    def first(self) -> int | None:
        """The oldest deliverable message that was never received."""
        while self._sent and self._sent[0] not in self._groups:
            heapq.heappop(self._sent)
        return self._sent[0] if self._sent else None

    def pop(self, delay_ms: int) -> Group | None:
        """Takes out the group that has waited for the longest; `update` brings it back.

        `delay_ms`: for which a message that was sent is not deliverable.
        """
        while self._back and self._back[0] not in self._groups:
            heapq.heappop(self._back)
        if self._back:
            sent = self.first
            if sent is None or self._back[0][0] < time_of(sent) + delay_ms:
                return self._take(heapq.heappop(self._back))
        while self._sent:
            sequence = heapq.heappop(self._sent)
            if sequence in self._groups:
                return self._take(sequence)
        return None

    def _take(self, ready_at: int | Place) -> Group:
        group = self._groups.pop(ready_at)
        group.ready_at = None
        return group

    def _compact(self) -> None:
        self._sent = sorted(key for key in self._groups if not isinstance(key, tuple))
        self._back = sorted(key for key in self._groups if isinstance(key, tuple))
