"""The queue that consumers are measured on keeps SQS's rules of groups and holds."""

import pytest

from benchmarks.engine.fifo import Fifo, Message


@pytest.fixture
def fifo() -> Fifo:
    """A queue with a1, b1, a2, a3."""
    fifo = Fifo()
    for text in ("a1", "b1", "a2", "a3"):
        fifo.send(text[0], text, 0.0)
    return fifo


def bodies(messages: list[Message]) -> list[str]:
    """What they say."""
    return [message.body for message in messages]


def test_a_receive_fills_up_group_by_group(fifo: Fifo) -> None:
    """All of one group comes before the next group's first."""
    assert bodies(fifo.receive(10, 30, 0.0)) == ["a1", "a2", "a3", "b1"]


def test_nothing_comes_behind_a_message_in_flight(fifo: Fifo) -> None:
    """A group is locked until its first message is deleted."""
    (head,) = fifo.receive(1, 30, 0.0)
    assert bodies(fifo.receive(10, 30, 1.0)) == ["b1"]
    assert fifo.delete([head.handle], 2.0) == [True]
    assert bodies(fifo.receive(10, 30, 3.0)) == ["a2", "a3"]


def test_what_is_given_back_comes_again_in_order(fifo: Fifo) -> None:
    """A suffix that is given back waits for its head."""
    first, second, third, _ = fifo.receive(10, 30, 0.0)
    assert fifo.change(third.handle, 0, 1.0)
    assert fifo.change(second.handle, 0, 1.0)
    assert bodies(fifo.receive(10, 30, 1.0)) == []
    assert fifo.change(first.handle, 0, 1.0)
    assert bodies(fifo.receive(10, 30, 1.0)) == ["a1", "a2", "a3"]


def test_a_hold_that_ran_out_is_no_hold(fifo: Fifo) -> None:
    """The message comes again, under another handle; the old one deletes nothing."""
    handle = fifo.receive(1, 30, 0.0)[0].handle
    assert fifo.delete([handle], 31.0) == [False]
    assert bodies(fifo.receive(3, 30, 31.0)) == ["b1", "a1", "a2"]
    assert fifo.delete([handle], 32.0) == [False]
    assert len(fifo) == 4
    assert fifo.counts(32.0) == (1, 3)


def test_a_group_is_known_until_its_last_message_is_deleted(fifo: Fifo) -> None:
    """Messages in flight count."""
    taken = fifo.receive(10, 30, 0.0)
    assert fifo.has("a")
    fifo.delete([message.handle for message in taken[:3]], 1.0)
    assert not fifo.has("a")
    assert fifo.has("b")
