"""A lane: the messages of one subject that this worker holds from one queue, in order."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from chaski_core.ports import ReceivedMessage

LaneKey = tuple[str, str]  # queue URL, group id


class Deleting(Protocol):
    """A delete under way."""

    async def ended(self) -> None:
        """Waits until the lane knows what came of it."""
        ...


class LaneLostError(Exception):
    """The hold on a lane's messages has ended: another worker may have them. Nothing more is done with the lane."""


class Lane:
    """Messages of one group, all hidden from others until `deadline`.

    `held` shrinks at its head as messages are deleted. `lock` is taken for every call that names the lane's receipt
    handles, so that a heartbeat under way never lands after a delete or overwrites a backoff; a delete that finds it free
    stands in `deleting` instead, which costs no task.
    """

    def __init__(
        self, queue_url: str, messages: Sequence[ReceivedMessage], received_at: float, deadline: float
    ) -> None:
        self.key: LaneKey = (queue_url, messages[0].group_id)
        self.ids = tuple(message.message_id for message in messages)  # the queue's, of all that came
        self.held = deque(messages)
        self.size = sum(len(message.body) for message in messages)  # bytes
        self.received_at = received_at  # monotonic seconds, before the receive was sent
        self.deadline = deadline  # monotonic seconds
        self.lock = asyncio.Lock()
        self.deleting: Deleting | None = None  # the delete of its head that was begun without the lock
        self.lost: str | None = None  # why, once it is
        self.repeats = False  # Strict: an attempt of its head may have been made whose end nobody knows

    @property
    def busy(self) -> bool:
        """Whether a call on its receipt handles is under way."""
        return self.deleting is not None or self.lock.locked()

    async def settle(self) -> None:
        """Waits for the delete of its head, whatever comes of it. Whoever has the lock calls this first."""
        if self.deleting is not None:
            await self.deleting.ended()

    def check(self, now: float) -> None:
        """Raises LaneLostError where the hold is not certain any more."""
        if self.lost is None and now >= self.deadline:
            self.lost = "the hold ran out"
        if self.lost is not None:
            raise LaneLostError(self.lost)

    def lose(self, why: str) -> LaneLostError:
        """The hold has ended; the error to raise."""
        self.lost = why
        return LaneLostError(why)

    def outlives(self, seconds: float, now: float) -> bool:
        """Whether the hold lasts so much longer."""
        return self.deadline - now >= seconds

    @property
    def oldest_sent_at(self) -> int | None:
        """Epoch milliseconds of the oldest message that is held; None for an empty lane."""
        return self.held[0].sent_at if self.held else None


def split(messages: Iterable[ReceivedMessage]) -> list[list[ReceivedMessage]]:
    """The messages of one receive by group, each group in the order received."""
    groups: dict[str, list[ReceivedMessage]] = {}
    for message in messages:
        groups.setdefault(message.group_id, []).append(message)
    return list(groups.values())
