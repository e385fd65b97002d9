"""Commands without a waiting caller: written with the next commit, on their own if none comes, and before the file is closed."""

import asyncio
from typing import Any

from chaski_core.ports import AttemptEntry, OutgoingMessage
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork


class Groups:
    """Records in which group of commands each action ran: `touched` is a new dict for each group."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, work: UnitOfWork) -> None:
        """The action."""
        self.seen.append(work.touched)


async def test_a_command_without_a_caller_shares_the_next_commit(broker: EmbeddedBroker) -> None:
    """It runs before the command submitted after it, in the same group."""
    rider, command = Groups(), Groups()
    broker.submit_nowait(rider)
    await broker.run(command)
    assert rider.seen[0] is command.seen[0]


async def test_commands_without_a_caller_are_flushed_together(broker: EmbeddedBroker) -> None:
    """Two of them and no other command: they run soon, in one group."""
    rider = Groups()
    broker.submit_nowait(rider)
    broker.submit_nowait(rider)
    async with asyncio.timeout(5):
        while len(rider.seen) < 2:
            await asyncio.sleep(0.01)
    assert rider.seen[0] is rider.seen[1]


async def test_a_command_without_a_caller_runs_before_the_close(broker: EmbeddedBroker) -> None:
    """A broker that is closed at once has executed it."""
    rider = Groups()
    broker.submit_nowait(rider)
    await broker.close()
    assert len(rider.seen) == 1


async def test_a_group_of_commands_needs_few_statements(broker: EmbeddedBroker) -> None:
    """100 messages sent, received and deleted with their journal entries: less than one statement for each in all."""
    queue = broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true"}))
    journal, executed = EmbeddedBackend(broker).journal, list[str]()
    await broker.run(lambda work: work.connection.set_trace_callback(executed.append))
    batches = [[OutgoingMessage(b"x", f"g{n}", f"{start + n}") for n in range(10)] for start in range(0, 100, 10)]
    await asyncio.gather(*map(queue.send, batches))
    received = await asyncio.gather(
        *(queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id="") for _ in range(10))
    )
    messages = [message for batch in received for message in batch]
    assert len(messages) == 100
    for message in messages:
        identity = message.message_id
        journal.note(AttemptEntry(identity, identity, "s", "ns/r", 1, 0, "first", "delivered", "", 200, 1.0))
    await asyncio.gather(*(queue.delete([each.receipt_handle for each in batch]) for batch in received))
    assert len(await journal.attempts(messages[99].message_id)) == 1
    assert len(executed) < 100
