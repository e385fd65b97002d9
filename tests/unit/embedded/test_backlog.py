"""What a message costs does not depend on how many wait behind it: one hot subject whose heads fail, in Strict."""

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from chaski_core.ports import AttemptRecord, OutgoingMessage, ReceivedMessage, VisibilityChange
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import EmbeddedQueue
from chaski_embedded.storage import schema
from support.clocks import SteppedClock

_STEP = 10  # instructions of SQLite's virtual machine between two calls of the progress handler
_CYCLES = 20


class Metered:
    """Counts statements, and instructions of SQLite's virtual machine, of the writer's connection."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def connect(self, file: Path) -> sqlite3.Connection:
        """As `schema.connect`."""
        connection = schema.connect(file)
        connection.set_trace_callback(lambda _: self.counts.update(["statements"]))
        connection.set_progress_handler(lambda: self.counts.update(["steps"]), _STEP)
        return connection


async def measured(folder: Path, waiting: int) -> Counter[str]:
    """What twenty heads cost of which each fails once, with the delivery of the nine messages behind each."""
    clock, metered = SteppedClock(), Metered()
    broker = await EmbeddedBroker.open(folder, clock, connect=metered.connect)
    try:
        queue = broker.queue(await broker.create_queue("hot.fifo", {"FifoQueue": "true"}))
        batches = [
            [OutgoingMessage(b"x" * 200, "hot", f"{start + number}") for number in range(10)]
            for start in range(0, waiting, 10)
        ]
        await asyncio.gather(*map(queue.send, batches))
        records = EmbeddedBackend(broker).attempt_records
        metered.counts.clear()
        for _ in range(_CYCLES):
            head, *rest = await receive(queue)
            await records.write(head.message_id, AttemptRecord(LadderState("5xx", 0, (ErrorNote("503", 1),)), 2))
            assert await queue.change_visibility([VisibilityChange(head.receipt_handle, 1)]) == [None]
            released = [VisibilityChange(each.receipt_handle, 0) for each in reversed(rest)]
            assert await queue.change_visibility(released) == [None] * 9
            assert await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="") == []
            clock.pass_time(1.5)
            again = await receive(queue)
            assert again[0].message_id == head.message_id
            assert await records.read(head.message_id) is not None
            assert await queue.delete([each.receipt_handle for each in again]) == [None] * 10
            await records.delete(head.message_id)
            await queue.counts()
        return +metered.counts
    finally:
        await broker.close()


async def receive(queue: EmbeddedQueue) -> list[ReceivedMessage]:
    """The ten messages at the front."""
    got = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    assert len(got) == 10
    return list(got)


@pytest.mark.promise(9)
async def test_a_backlog_makes_no_message_dearer(tmp_path: Path) -> None:
    """With 20,000 waiting messages of the subject as many statements, and as many steps of SQLite, as with 400."""
    few, many = await measured(tmp_path / "few", 400), await measured(tmp_path / "many", 20_000)
    assert few["statements"] > _CYCLES * 8
    assert abs(many["statements"] - few["statements"]) <= _CYCLES
    assert many["steps"] <= 1.3 * few["steps"]
