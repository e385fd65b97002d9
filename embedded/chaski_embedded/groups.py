"""The messages of one group, and which group is next. Pure and in memory: sequence numbers only."""

import bisect
import heapq
from array import array
from collections.abc import Iterator

_SLACK = 16  # free places kept in front: at most 10 messages of a group are held, and come back there


class Group:
    """One message group: what waits in it, in order, and what is held.

    A message is deliverable iff no earlier one of its group is held (AWSV: research/sqs.md §1.2 rule 4).
    """

    __slots__ = ("_start", "_waiting", "held", "id", "ready_at")

    def __init__(self, group_id: str) -> None:
        self.id = group_id
        self.held: list[int] = []  # ascending
        self.ready_at: int | None = None  # the first deliverable message as `ReadyGroups` knows it
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
    """Groups with a deliverable message, oldest message first. AWS leaves the order open; this one starves nobody.

    A heap of sequence numbers with lazy deletion: an entry counts only while a group is known to be ready at it.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._groups: dict[int, Group] = {}  # by their first deliverable message

    def __len__(self) -> int:
        return len(self._groups)

    def update(self, group: Group) -> None:
        """Takes note of what changed in a group."""
        before, ready_at = group.ready_at, group.deliverable
        if ready_at == before:
            return
        if before is not None:
            del self._groups[before]
        group.ready_at = ready_at
        if ready_at is not None:
            self._groups[ready_at] = group
            heapq.heappush(self._heap, ready_at)
            if len(self._heap) > 2 * len(self._groups) + 64:
                self._heap = sorted(self._groups)

    @property
    def first(self) -> int | None:
        """The oldest deliverable message."""
        while self._heap and self._heap[0] not in self._groups:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> Group | None:
        """Takes out the group whose deliverable message is the oldest; `update` brings it back."""
        while self._heap:
            group = self._groups.pop(heapq.heappop(self._heap), None)
            if group is not None:
                group.ready_at = None
                return group
        return None
