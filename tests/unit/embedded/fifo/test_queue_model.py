"""The queue against a simple, slow model: for any calls in any order both must agree."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core.ports import QueueCounts
from chaski_embedded.fifo.model import HandleFailure, Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.sequence import next_sequence, time_of

Op = tuple[str, int, int]


@dataclass
class Message:
    """A message of the model."""

    sequence: int
    group: str
    receives: int = 0
    since: int = 0
    until: int = 0
    turn: int | None = None  # counts messages that became visible again; None: never received, or in flight


class Model:
    """The rules as documented: a list, searched from its beginning each time."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.delay_ms = 0
        self.turns = 0

    def pass_time(self, now: int) -> None:
        """Makes messages whose visibility timeout has ended visible, in the order of their times."""
        back = [each for each in self.messages if each.receives and each.until <= now and each.turn is None]
        for message in sorted(back, key=lambda each: (each.until, each.sequence)):
            self.turns += 1
            message.turn = self.turns

    def hidden(self, message: Message, now: int) -> bool:
        """In flight."""
        return message.receives > 0 and message.until > now

    def delayed(self, message: Message, now: int) -> bool:
        """Not due yet."""
        return message.receives == 0 and time_of(message.sequence) + self.delay_ms > now

    def deliverable(self, now: int) -> dict[str, list[Message]]:
        """Deliverable messages by group, the group first whose message became visible first."""
        groups: dict[str, list[Message]] = {}
        locked: set[str] = set()
        for message in self.messages:
            if self.hidden(message, now):
                locked.add(message.group)
            elif not self.delayed(message, now) and message.group not in locked:
                groups.setdefault(message.group, []).append(message)
        return dict(sorted(groups.items(), key=lambda each: self.place(each[1][0])))

    def place(self, message: Message) -> tuple[int, int, int]:
        """The position of a visible message."""
        if message.turn is None:
            return time_of(message.sequence) + self.delay_ms, 0, message.sequence
        return message.until, 1, message.turn

    def take(self, limit: int, hide_ms: int, now: int) -> list[tuple[int, int]]:
        """Group by group."""
        taken = [message for group in self.deliverable(now).values() for message in group][:limit]
        for message in taken:
            message.receives, message.since, message.until = message.receives + 1, now, now + hide_ms
            message.turn = None
        return [(message.sequence, message.receives) for message in taken]

    def judge(self, sequence: int, receive: int, now: int) -> tuple[Message | None, HandleFailure | None]:
        """The message of a handle, or why the handle failed."""
        message = next((each for each in self.messages if each.sequence == sequence), None)
        if message is None:
            return None, HandleFailure.DELETED
        valid = message.receives == receive and self.hidden(message, now)
        return (message, None) if valid else (None, HandleFailure.EXPIRED)

    def counts(self, now: int) -> QueueCounts:
        """By state."""
        hidden = sum(self.hidden(message, now) for message in self.messages)
        delayed = sum(self.delayed(message, now) for message in self.messages)
        return QueueCounts(len(self.messages) - hidden - delayed, hidden, delayed)


class Pair:
    """The queue and its model, with the same calls."""

    def __init__(self) -> None:
        self.queue, self.model = FifoQueue(Settings()), Model()
        self.now, self.last = 1_000_000, 0
        self.handles: list[tuple[int, int]] = []

    def do(self, op: Op) -> None:
        """Makes one call to both."""
        kind, first, second = op
        self.model.pass_time(self.now)
        getattr(self, kind)(first, second)
        self.model.pass_time(self.now)
        assert self.queue.counts(self.now) == self.model.counts(self.now)
        ready = self.model.deliverable(self.now)
        assert self.queue.ready_groups(self.now) == len(ready)
        self._check_next_event(ready)

    def send(self, group: int, _: int) -> None:
        """A message to one of few groups."""
        self.last = next_sequence(self.last, self.now)
        name = "abcd"[group % 4]
        assert self.queue.send(self.last, name, str(self.last), self.now) == self.last
        self.model.messages.append(Message(self.last, name))

    def take(self, limit: int, seconds: int) -> None:
        """A receive."""
        limit, hide_ms = limit % 10 + 1, seconds * 1000
        taken = [(m.sequence, m.receives) for m in self.queue.receive(limit, hide_ms, "", self.now, self.now)]
        assert taken == self.model.take(limit, hide_ms, self.now)
        self.handles += taken

    def delete(self, which: int, _: int) -> None:
        """A delete with any handle ever returned."""
        if self.handles:
            sequence, receive = self.handles[-1 - which % len(self.handles)]
            message, refusal = self.model.judge(sequence, receive, self.now)
            if message is not None:
                self.model.messages.remove(message)
            expected = None if refusal is HandleFailure.DELETED else refusal
            assert self.queue.delete(sequence, receive, self.now) == expected

    def change(self, which: int, seconds: int) -> None:
        """A change of visibility with any handle ever returned."""
        if self.handles:
            sequence, receive = self.handles[-1 - which % len(self.handles)]
            message, refusal = self.model.judge(sequence, receive, self.now)
            if message is not None:
                message.until, message.turn = self.now + seconds * 1000, None
            assert self.queue.change_visibility(sequence, receive, seconds * 1000, self.now) == refusal

    def wait(self, seconds: int, milliseconds: int) -> None:
        """Time passes."""
        self.now += seconds * 1000 + milliseconds

    def delay(self, seconds: int, _: int) -> None:
        """The queue's delay is changed."""
        self.queue.configure(Settings(delay_ms=seconds * 1000), self.now)
        self.model.delay_ms = seconds * 1000

    def _check_next_event(self, ready: dict[str, list[Message]]) -> None:
        messages = self.model.messages
        times = [message.until for message in messages if self.model.hidden(message, self.now)]
        times += [
            time_of(message.sequence) + self.model.delay_ms
            for message in messages
            if self.model.delayed(message, self.now)
        ]
        gains = [at for at in sorted(times) if self.model.deliverable(at) != ready]
        event = self.queue.next_event(self.now)
        assert not gains or (event is not None and self.now < event <= gains[0])


_OPS = st.sampled_from(["send", "send", "send", "take", "take", "delete", "change", "wait", "delay"])


@given(st.lists(st.tuples(_OPS, st.integers(0, 30), st.integers(0, 30)), max_size=80))
@settings(max_examples=400, deadline=None)
def test_the_queue_agrees_with_the_model(ops: list[Op]) -> None:
    """Receives, deletes, changes, counts and wake-up times agree after every call."""
    pair = Pair()
    for op in ops:
        pair.do(op)


def test_a_deep_group_does_not_slow_down_others() -> None:
    """With 100,000 messages of one blocked subject ahead, a receive of others takes no longer than without (factor 5)."""
    empty, deep = _best(_seconds_a_receive, 0), _best(_seconds_a_receive, 100_000)
    assert deep < 5 * empty + 20e-6, f"{deep * 1e6:.0f} µs behind the backlog, {empty * 1e6:.0f} µs without"


def test_a_deep_group_drains_in_linear_time() -> None:
    """Receiving and deleting ten of 100,000 takes as long as of 1,000 (factor 5)."""
    shallow, deep = _best(_seconds_a_cycle, 1_000), _best(_seconds_a_cycle, 100_000)
    assert deep < 5 * shallow + 20e-6, f"{deep * 1e6:.0f} µs in the deep group, {shallow * 1e6:.0f} µs in the shallow"


def _best(measure: Callable[[int], float], hot: int) -> float:
    return min(measure(hot) for _ in range(3))  # the machine may be busy


def _filled(hot: int) -> tuple[FifoQueue, int]:
    queue, sequence = FifoQueue(Settings()), 0
    for n in range(hot):
        sequence = next_sequence(sequence, 1_000)
        queue.send(sequence, "hot", str(n), 1_000)
    return queue, sequence


def _seconds_a_receive(hot: int) -> float:
    queue, sequence = _filled(hot)
    queue.receive(10, 3_600_000, "", 1_000, 0)
    rounds = 500
    for n in range(rounds):
        sequence = next_sequence(sequence, 1_000)
        queue.send(sequence, f"g{n}", f"g{n}", 1_000)
    begun = time.perf_counter()
    for _ in range(rounds):
        (taken,) = queue.receive(1, 30_000, "", 1_000, 0)
        assert queue.delete(taken.sequence, 1, 1_000) is None
    return (time.perf_counter() - begun) / rounds


def _seconds_a_cycle(hot: int) -> float:
    queue, _ = _filled(hot)
    rounds = 100
    begun = time.perf_counter()
    for _ in range(rounds):
        for taken in queue.receive(10, 30_000, "", 1_000, 0):
            queue.delete(taken.sequence, 1, 1_000)
    return (time.perf_counter() - begun) / rounds
