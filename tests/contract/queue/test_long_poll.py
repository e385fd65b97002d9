"""Long polls: they wake for messages that they can receive only."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from chaski_core.ports import OutgoingMessage, Queue, ReceivedMessage, VisibilityChange
from chaski_embedded.broker.broker import EmbeddedBroker
from contract.conftest import FIFO, QueueWorld

SOON = 1.5  # seconds: far below the poll's own 10, generous for a busy machine


def poll(
    queue: Queue, seconds: float = 10, limit: int = 10, attempt: str = ""
) -> "asyncio.Task[Sequence[ReceivedMessage]]":
    """Starts a receive that waits."""
    return asyncio.create_task(
        queue.receive(max_messages=limit, wait_seconds=seconds, visibility_seconds=30, attempt_id=attempt)
    )


async def hold(queue: Queue, seconds: int = 30, limit: int = 10) -> Sequence[ReceivedMessage]:
    """A receive that does not wait."""
    return await queue.receive(max_messages=limit, wait_seconds=0, visibility_seconds=seconds, attempt_id="")


async def started(task: "asyncio.Task[Sequence[ReceivedMessage]]") -> None:
    """Waits until the receive has found nothing and waits: it is still pending after some round trips."""
    done, _ = await asyncio.wait({task}, timeout=0.2)
    assert not done


async def names(task: "asyncio.Task[Sequence[ReceivedMessage]]") -> list[str]:
    """The names of the messages that a receive returns soon."""
    return [message.body.decode() for message in await asyncio.wait_for(task, SOON)]


async def test_poll_wakes_for_a_send(queues: QueueWorld) -> None:
    """A new message is received at once."""
    queue = await queues.make()
    waiting = poll(queue)
    await started(waiting)
    await queues.send(queue, "a1")
    assert await names(waiting) == ["a1"]


async def test_poll_wakes_for_a_delete_that_unlocks(queues: QueueWorld) -> None:
    """The next message of a group is received when the last one before it is deleted."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2")
    (held,) = await hold(queue, limit=1)
    waiting = poll(queue)
    await started(waiting)
    await queue.delete([held.receipt_handle])
    assert await names(waiting) == ["a2"]


async def test_poll_wakes_for_a_release(queues: QueueWorld) -> None:
    """A released message is received at once."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await hold(queue)
    waiting = poll(queue)
    await started(waiting)
    await queue.change_visibility([VisibilityChange(held.receipt_handle, 0)])
    assert await names(waiting) == ["a1"]


async def test_poll_wakes_when_a_visibility_timeout_ends(queues: QueueWorld) -> None:
    """AWSV: without another call the message is received once the time is over."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    await hold(queue, seconds=1)
    begun = time.monotonic()
    waiting = poll(queue)
    assert [message.body for message in await asyncio.wait_for(waiting, 1 + SOON)] == [b"a1"]
    assert time.monotonic() - begun > 0.8


async def test_poll_wakes_when_a_shortened_visibility_timeout_ends(queues: QueueWorld) -> None:
    """A visibility timeout that is shortened during a long poll ends at its new time."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    (held,) = await hold(queue, seconds=600)
    waiting = poll(queue)
    await started(waiting)
    await queue.change_visibility([VisibilityChange(held.receipt_handle, 1)])
    assert [message.body for message in await asyncio.wait_for(waiting, 1 + SOON)] == [b"a1"]


async def test_poll_wakes_when_a_delay_ends(queues: QueueWorld) -> None:
    """A delayed message is received when it is due."""
    queue = await queues.make(DelaySeconds="1")
    waiting = poll(queue)
    await started(waiting)
    await queues.send(queue, "a1")
    assert [message.body for message in await asyncio.wait_for(waiting, 1 + SOON)] == [b"a1"]


async def test_poll_ends_empty_at_its_deadline(queues: QueueWorld) -> None:
    """Without a message the receive returns nothing at its deadline, not before."""
    queue = await queues.make()
    begun = time.monotonic()
    assert await asyncio.wait_for(poll(queue, seconds=1), 1 + SOON) == []
    assert time.monotonic() - begun > 0.9


async def test_message_behind_a_lock_does_not_end_a_poll(queues: QueueWorld) -> None:
    """A send to a locked group does not end a waiting receive."""
    queue = await queues.make()
    await queues.send(queue, "a1")
    await hold(queue)
    waiting = poll(queue, seconds=1)
    await started(waiting)
    await queues.send(queue, "a2")
    assert await names(waiting) == []


async def test_each_of_many_polls_gets_one_of_many_messages(queues: QueueWorld) -> None:
    """Ten receivers of one message each are all served by one batch of ten groups."""
    queue = await queues.make()
    waiting = [poll(queue, limit=1) for _ in range(10)]
    await started(waiting[-1])
    await queues.send(queue, *(f"{group}1" for group in "abcdefghij"))
    received = [name for task in waiting for name in await names(task)]
    assert sorted(received) == [f"{group}1" for group in "abcdefghij"]


@pytest.mark.promise(11)
async def test_cancelled_poll_receives_nothing(broker: EmbeddedBroker) -> None:
    """A cancelled receive leaves no message locked, whenever it is cancelled.

    Promised in the same process only: on a connection the response may be in transit when the receive is cancelled.
    """
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    for round_number in range(10):
        waiting = poll(queue)
        await asyncio.sleep(0.002 * round_number)
        await queue.send([OutgoingMessage(b"x", "a", f"a{round_number}")])
        waiting.cancel()
        outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
        taken = outcome if isinstance(outcome, list) else []
        if not taken:
            taken = list(await asyncio.wait_for(poll(queue), SOON))
        assert [message.deduplication_id for message in taken] == [f"a{round_number}"]
        await queue.delete([message.receipt_handle for message in taken])


@pytest.mark.promise(11)
@pytest.mark.differs("embedded-sqs-server", "this client hangs up, and says no more")
async def test_messages_of_a_cancelled_receive_are_soon_received_by_another(queues: QueueWorld) -> None:
    """Cancelled before, while or after its message arrives, a receive does not lock the message for its visibility timeout."""
    queue = await queues.make()
    for round_number in range(10):
        leaving = poll(queue, attempt=f"leaves-{round_number}")
        await asyncio.sleep(0.004 * (round_number % 5))
        if round_number < 5:  # the message arrives before the cancellation, else after
            await queues.send(queue, f"a{round_number}")
        leaving.cancel()
        taken = (await asyncio.gather(leaving, return_exceptions=True))[0]
        if round_number >= 5:
            await queues.send(queue, f"a{round_number}")
        if isinstance(taken, BaseException):
            taken = await asyncio.wait_for(poll(queue), SOON)
        assert [message.body.decode() for message in taken] == [f"a{round_number}"]
        await queue.delete([message.receipt_handle for message in taken])


@pytest.mark.promise(11)
@pytest.mark.differs(
    "elasticmq", "two polls of one attempt wait: both get the message, only the later handle is good: 1.6.12"
)
async def test_a_repeated_attempt_gets_the_lost_messages(queues: QueueWorld) -> None:
    """A lost response locks nothing for the same attempt, and no other receive gets its message."""
    queue = await queues.make()
    for round_number in range(10):
        waiting = poll(queue, attempt=f"attempt-{round_number}")
        await asyncio.sleep(0.002 * round_number)
        await queues.send(queue, f"a{round_number}")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        again = await asyncio.wait_for(poll(queue, attempt=f"attempt-{round_number}"), SOON)
        assert [message.body.decode() for message in again] == [f"a{round_number}"]
        assert list(await hold(queue)) == []
        assert await queue.delete([message.receipt_handle for message in again]) == [None]


@pytest.mark.promise(3)
async def test_cancelled_receive_does_not_release_messages_of_its_repetition(broker: EmbeddedBroker) -> None:
    """A cancelled receive does not release messages that the repeated attempt returned under the same handle."""
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    for round_number in range(8):  # turns of the loop between receive and cancel: before and after the writer took it
        await queue.send([OutgoingMessage(b"x", "a", f"a{round_number}")])
        first = poll(queue, seconds=0, attempt=f"attempt-{round_number}")
        for _ in range(round_number):
            await asyncio.sleep(0)
        first.cancel()
        again = await poll(queue, seconds=0, attempt=f"attempt-{round_number}")
        await asyncio.gather(first, return_exceptions=True)
        assert len(again) == 1
        assert list(await hold(queue)) == []
        assert await queue.delete([again[0].receipt_handle]) == [None]
