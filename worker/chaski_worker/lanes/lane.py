"""A lane: the messages of one subject that this worker holds from one queue, in order."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from chaski_core.ports import ReceivedMessage

LaneKey = tuple[str, str]  # queue URL, group id
_MAX_PARKED = 10_000  # messages


class LaneLostError(Exception):
    """The lane's messages may be visible to other workers. Nothing more is done with the lane."""


class Lane:
    """Messages of one group, at most ten (one receive), all hidden from other receivers until `deadline`.

    `held` has every message that the queue has not deleted yet; those that are settled come first, and are in `settled`
    as well. `LaneDeletes` adds to `settled`, and `VisibilityManager.delete_settled` alone takes messages out of both.

    `lock` is taken for every call that uses the lane's receipt handles, so that a heartbeat under way never lands after
    a delete or overwrites a backoff.
    """

    def __init__(
        self, queue_url: str, messages: Sequence[ReceivedMessage], received_at: float, deadline: float
    ) -> None:
        self.key: LaneKey = (queue_url, messages[0].group_id)
        self.ids = tuple([message.message_id for message in messages])  # the queue's ids of all messages received
        self.held = deque(messages)
        self.settled: list[ReceivedMessage] = []  # to be deleted, in order
        self.size = sum([len(message.body) for message in messages])  # bytes
        self.received_at = received_at  # monotonic seconds, before the receive was sent
        self.deadline = deadline  # monotonic seconds
        self.lock = asyncio.Lock()
        self.may_continue = asyncio.Event()  # cleared while a delete has failed: nothing further of the lane starts
        self.may_continue.set()
        self.lost: str | None = None  # the reason, once the lane is lost
        self.waits_for_host = False  # it ended without an attempt, because the host of its head is held
        self.repeats = (
            False  # Strict: an earlier receive of its head ended unfinished, so others may have been attempted
        )

    def check(self, now: float) -> None:
        """Raises LaneLostError where the lane is lost or its deadline has passed."""
        if not self.is_hidden(now):
            raise LaneLostError(self.lost)

    def is_hidden(self, now: float) -> bool:
        """Whether its messages are still hidden from other receivers. A lane whose deadline has passed is lost."""
        if self.lost is None and now >= self.deadline:
            self.lost = "the visibility timeout ran out"
        return self.lost is None

    def lose(self, why: str) -> LaneLostError:
        """Marks the lane as lost and returns the error to raise."""
        self.lost = why
        return LaneLostError(why)

    def outlasts(self, seconds: float, now: float) -> bool:
        """Whether its messages stay hidden for at least `seconds` more."""
        return self.deadline - now >= seconds

    @property
    def oldest_sent_at(self) -> int | None:
        """Epoch milliseconds of the oldest held message; None for an empty lane."""
        return self.held[0].sent_at if self.held else None


class ParkedMessages:
    """The messages that were received and parked without an attempt, at most 10,000: their next receive does not count as a repeat."""

    def __init__(self) -> None:
        self._receives: dict[str, int] = {}  # the queue's id -> how often it had been received, oldest first

    def add(self, messages: Iterable[ReceivedMessage]) -> None:
        """These messages are parked."""
        for message in messages:
            self._receives.pop(message.message_id, None)
            self._receives[message.message_id] = message.receive_count
        while len(self._receives) > _MAX_PARKED:
            del self._receives[next(iter(self._receives))]

    def remove(self, message: ReceivedMessage) -> bool:
        """Forgets a message; whether its last receive before this one had ended here without an attempt."""
        return self._receives.pop(message.message_id, None) == message.receive_count - 1


def split_by_group(messages: Iterable[ReceivedMessage]) -> list[list[ReceivedMessage]]:
    """The messages of one receive by group, each group in the order received."""
    groups: dict[str, list[ReceivedMessage]] = {}
    for message in messages:
        groups.setdefault(message.group_id, []).append(message)
    return list(groups.values())
