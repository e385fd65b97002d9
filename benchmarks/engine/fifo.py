"""A fast FIFO queue in memory, with SQS's rules of groups and visibility timeouts.

A message is deliverable when no earlier message of its group is hidden; a receive fills up group by group. Time is an
argument: seconds of any clock that does not go back.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Message:
    """A message on the queue."""

    id: str
    group: "Group"
    body: str
    sent_ms: int
    hidden_until: float = 0.0
    receives: int = 0
    first_received_ms: int = 0

    @property
    def handle(self) -> str:
        """The receipt handle of the last receive."""
        return f"{self.id}/{self.receives}"


@dataclass(slots=True, eq=False)
class Group:
    """The messages of one subject, the oldest first."""

    name: str
    messages: dict[str, Message] = field(default_factory=dict)  # by id; in the order sent
    listed: bool = False  # among the groups that may have a visible message


class Fifo:
    """One queue."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._messages: dict[str, Message] = {}
        self._listed: deque[Group] = deque()
        self._holds: list[tuple[float, str]] = []  # end of a visibility timeout, message id
        self._next = 0

    def __len__(self) -> int:
        return len(self._messages)

    def send(self, group: str, body: str, now: float) -> int:
        """Adds a message; returns its sequence number."""
        self._next += 1
        lane = self._groups.get(group)
        if lane is None:
            lane = self._groups[group] = Group(group)
        message = Message(f"m-{self._next}", lane, body, int(now * 1000))
        lane.messages[message.id] = self._messages[message.id] = message
        self._list(lane)
        return self._next

    def receive(self, most: int, visibility: float, now: float) -> list[Message]:
        """Receives visible messages, at most `most`."""
        self._end_holds(now)
        taken: list[Message] = []
        while self._listed and len(taken) < most:
            group = self._listed.popleft()
            group.listed = False
            for message in group.messages.values():
                if message.hidden_until > now or len(taken) == most:
                    break
                taken.append(message)
                message.receives += 1
                message.first_received_ms = message.first_received_ms or int(now * 1000)
                self._hide(message, now + visibility)
        return taken

    def delete(self, handles: Sequence[str], now: float) -> list[bool]:
        """Deletes by receipt handle; False for each handle that is not, or no longer, valid."""
        self._end_holds(now)
        return [self._delete(handle, now) for handle in handles]

    def change(self, handle: str, seconds: float, now: float) -> bool:
        """Hides a message for `seconds` from now; False for a handle that is not, or no longer, valid."""
        message = self._held(handle, now)
        if message is None:
            return False
        self._hide(message, now + seconds)
        if not seconds:
            self._list(message.group)
        return True

    def has(self, group: str) -> bool:
        """Whether a group has messages, visible or hidden."""
        return group in self._groups

    def counts(self, now: float) -> tuple[int, int]:
        """Visible and hidden messages."""
        hidden = sum(message.hidden_until > now for message in self._messages.values())
        return len(self._messages) - hidden, hidden

    def _delete(self, handle: str, now: float) -> bool:
        message = self._held(handle, now)
        if message is None:
            return False
        group = message.group
        del group.messages[message.id], self._messages[message.id]
        if group.messages:
            self._list(group)
        else:
            del self._groups[group.name]
        return True

    def _held(self, handle: str, now: float) -> Message | None:
        message = self._messages.get(handle.partition("/")[0])
        return message if message and message.handle == handle and message.hidden_until > now else None

    def _hide(self, message: Message, until: float) -> None:
        message.hidden_until = until
        heapq.heappush(self._holds, (until, message.id))

    def _list(self, group: Group) -> None:
        if not group.listed:
            group.listed = True  # a receive checks whether it has a visible message
            self._listed.append(group)

    def _end_holds(self, now: float) -> None:
        while self._holds and self._holds[0][0] <= now:
            message = self._messages.get(heapq.heappop(self._holds)[1])
            if message is not None and message.hidden_until <= now:
                self._list(message.group)
