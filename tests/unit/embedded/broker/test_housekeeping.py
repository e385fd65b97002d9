"""Expired data is deleted, in small steps, and nothing else."""

import sqlite3

import pytest

from chaski_core.ports import AttemptEntry, AttemptRecord, OutgoingMessage
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.retry.ladder import LadderState
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import housekeeping
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import EmbeddedQueue
from support.clocks import SteppedClock

DAY = 86_400


async def sweep(broker: EmbeddedBroker, cursor: housekeeping.Cursor) -> int:
    """Runs housekeeping to its end; the number of steps."""
    steps = 1
    while await broker.run(cursor.step):
        steps += 1
    return steps


async def rows(broker: EmbeddedBroker, table: str) -> int:
    """Number of rows of a table."""
    return int((await broker.run(lambda work: work.read(f"SELECT count(*) FROM {table}")))[0][0])  # noqa: S608 - the tests' own words


async def fill(queue: EmbeddedQueue, count: int) -> None:
    """Sends `messages` messages of `groups` groups."""
    for first in range(0, count, 10):
        await queue.send([OutgoingMessage(b"x", f"g{n}", f"m{n}") for n in range(first, first + 10)])


async def drain(queue: EmbeddedQueue) -> None:
    """Receives and deletes everything."""
    while batch := await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id=""):
        await queue.delete([message.receipt_handle for message in batch])


@pytest.fixture
async def queue(broker: EmbeddedBroker) -> EmbeddedQueue:
    """A queue that keeps messages for an hour."""
    return broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true", "MessageRetentionPeriod": "3600"}))


@pytest.mark.promise(12)
async def test_rows_of_deleted_messages_are_deleted_after_the_window(
    broker: EmbeddedBroker, queue: EmbeddedQueue, clock: SteppedClock
) -> None:
    """Bodies with the delete, the small rows once deduplication no longer needs them; waiting messages stay."""
    cursor = housekeeping.Cursor()
    await fill(queue, 30)
    await drain(queue)
    await queue.send([OutgoingMessage(b"x", "kept", "kept")])
    assert (await rows(broker, "bodies"), await rows(broker, "messages")) == (1, 31)
    await sweep(broker, cursor)
    assert await rows(broker, "messages") == 31
    clock.pass_time(301)
    await sweep(broker, cursor)
    assert await rows(broker, "messages") == 1
    await drain(queue)
    assert (await rows(broker, "bodies"), await rows(broker, "messages")) == (0, 0)


async def test_expired_messages_are_dropped_from_the_file(
    broker: EmbeddedBroker, queue: EmbeddedQueue, clock: SteppedClock
) -> None:
    """By the queue's retention, in steps; a message in flight once it is visible again."""
    await fill(queue, 1_200)
    await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=7_200, attempt_id="")
    clock.pass_time(3_601)
    cursor = housekeeping.Cursor()
    assert await sweep(broker, cursor) > 2
    assert (await queue.counts()).total == 1
    assert (await rows(broker, "bodies"), await rows(broker, "messages")) == (1, 1)
    clock.pass_time(3_600)
    await sweep(broker, cursor)
    assert await rows(broker, "messages") == 0


@pytest.mark.promise(12)
async def test_journal_is_bounded_by_age_and_by_number(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """Old entries are deleted, and the oldest above the limit."""
    journal = EmbeddedBackend(broker).journal

    async def note(message_id: str, count: int) -> None:
        for number in range(count):
            now = clock.now_ms()
            journal.note(
                AttemptEntry(message_id, message_id, "s", "ns/r", number, now, "first", "failed", "5xx", 500, 1.0)
            )
        assert len(await journal.attempts(message_id)) == count

    await note("old", 3)
    clock.pass_time(13 * DAY)
    await note("new", 10)
    await sweep(broker, housekeeping.Cursor())
    assert await rows(broker, "journal") == 13
    clock.pass_time(1.1 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert len(await journal.attempts("old")) == 0
    await sweep(broker, housekeeping.Cursor(journal_rows=4))
    assert [entry.number for entry in await journal.attempts("new")] == [6, 7, 8, 9]


async def test_attempt_records_outlive_their_message(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """14 days is the longest time that a message can wait; then its record is deleted."""
    records = EmbeddedBackend(broker).attempt_records
    await records.write("m1", AttemptRecord(LadderState("5xx", 0, ()), 5))
    clock.pass_time(14 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert await records.read("m1") is not None
    clock.pass_time(1.1 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert await records.read("m1") is None


async def test_nothing_is_written_when_nothing_expires(broker: EmbeddedBroker, queue: EmbeddedQueue) -> None:
    """An idle broker does not write to the disk."""
    await fill(queue, 10)

    def written(session: object) -> int:
        connection = getattr(session, "connection", None)
        assert isinstance(connection, sqlite3.Connection)
        return connection.total_changes

    before = await broker.run(written)
    await sweep(broker, housekeeping.Cursor())
    assert await broker.run(written) == before


async def test_decisions_about_messages_expire_and_holds_do_not(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """A record whose message was delivered before a worker read it is kept for 15 days; a hold until it is released."""
    controls = EmbeddedBackend(broker).control_records
    hold = ControlRecord("ns/r", "s", ControlAction.HOLD, clock.now_ms())
    await controls.write(hold)
    await controls.write(ControlRecord("ns/r", "s", ControlAction.SKIP, clock.now_ms(), "m1"))
    clock.pass_time(14 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert await rows(broker, "control_records") == 2
    clock.pass_time(3 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert await controls.read("ns/r") == [hold]
