"""Nothing acknowledged is lost by kill -9, by a full disk, or by a failed commit."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import AttemptEntry, OutgoingMessage
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import queue_operations
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import EmbeddedQueue
from chaski_embedded.broker.queue_operations import HandleRequest
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.fifo.sequence import read_handle
from chaski_embedded.storage import schema
from support.clocks import SteppedClock
from support.processes import sender

ROUNDS = 12
FIFO = {"FifoQueue": "true"}


def run_and_kill(folder: Path, round_number: int, seconds: float) -> list[str]:
    """Lets a process send for a while and kills it with SIGKILL; the acknowledged ids."""
    command = [sys.executable, sender.__file__, str(folder), str(round_number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        rest = process.stdout.read()
    return (first + rest.rpartition(b"\n")[0]).decode().split()  # a truncated line was not acknowledged


async def drain(queue: EmbeddedQueue) -> dict[str, list[str]]:
    """Receives and deletes everything; deduplication ids by group in the order received."""
    received: dict[str, list[str]] = defaultdict(list)
    while batch := await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id=""):
        for message in batch:
            received[message.group_id].append(message.deduplication_id)
        assert await queue.delete([message.receipt_handle for message in batch]) == [None] * len(batch)
    return received


@pytest.mark.promise(1)
async def test_acknowledged_messages_survive_kill_9(
    tmp_path: Path, clock: SteppedClock, report: Callable[[str], None]
) -> None:
    """A process is killed repeatedly while it sends; all acknowledged messages exist, once and in order."""
    chance = random.Random(11)
    acknowledged: list[str] = []
    for round_number in range(ROUNDS):
        acknowledged += await asyncio.to_thread(run_and_kill, tmp_path, round_number, chance.uniform(0.0, 0.4))
    broker = await EmbeddedBroker.open(tmp_path, clock)
    received = await drain(broker.queue(f"embedded://{sender.QUEUE}"))
    await broker.close()
    everything = [each for group in received.values() for each in group]
    assert len(set(everything)) == len(everything)
    assert not set(acknowledged) - set(everything)
    for group in received.values():
        keys = [tuple(map(int, each.split("-"))) for each in group]
        assert keys == sorted(keys)
    assert len(acknowledged) > ROUNDS
    report(f"{ROUNDS} kills, {len(acknowledged)} acknowledged, {len(everything)} found")


class FaultyConnection:
    """A connection whose next statements of a kind fail, as on a full or broken disk."""

    def __init__(self, file: Path, faults: dict[str, int]) -> None:
        self._connection = schema.connect(file)
        self._faults = faults  # beginning of a statement -> how often it fails; shared by all connections

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """Runs or fails."""
        self._fail(statement)
        return self._connection.execute(statement, *values)

    def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
        """Runs or fails."""
        self._fail(statement)
        return self._connection.executemany(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _fail(self, statement: str) -> None:
        for beginning, left in self._faults.items():
            if statement.startswith(beginning) and left:
                self._faults[beginning] -= 1
                raise sqlite3.OperationalError("database or disk is full")


async def faulty_queue(folder: Path, clock: SteppedClock) -> tuple[EmbeddedBroker, EmbeddedQueue, dict[str, int]]:
    """A broker on a disk with injected faults."""
    faults: dict[str, int] = {}

    def connect(file: Path) -> Any:
        return FaultyConnection(file, faults)

    broker = await EmbeddedBroker.open(folder, clock, connect=connect)
    url = await broker.create_queue("q.fifo", FIFO)
    return broker, broker.queue(url), faults


def message(name: str) -> OutgoingMessage:
    """A message with its group's name as prefix."""
    return OutgoingMessage(name.encode(), name[0], name)


@pytest.mark.parametrize("fails", ["COMMIT", "BEGIN", "INSERT INTO messages", "INSERT INTO bodies"])
@pytest.mark.promise(1)
async def test_failed_commit_fails_every_send_of_its_group(tmp_path: Path, clock: SteppedClock, fails: str) -> None:
    """None of them is acknowledged or stored; earlier messages are, and the next send succeeds."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    faults[fails] = 1
    results = await asyncio.gather(*(queue.send([message(f"{g}2")]) for g in "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [BackendUnavailableError] * 3
    await queue.send([message("a3"), message("b3")])
    assert await drain(queue) == {"a": ["a1", "a3"], "b": ["b3"]}
    await broker.close()


@pytest.mark.promise(2)
async def test_failed_commit_of_a_delete_keeps_the_message(tmp_path: Path, clock: SteppedClock) -> None:
    """The delete was not acknowledged; the message is still in flight under the same handle, and can be deleted."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1"), message("a2")])
    (held,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    faults["COMMIT"] = 1
    with pytest.raises(BackendUnavailableError):
        await queue.delete([held.receipt_handle])
    assert (await queue.counts()).in_flight == 1
    assert await queue.delete([held.receipt_handle]) == [None]
    assert await drain(queue) == {"a": ["a2"]}
    await broker.close()


async def test_failed_commit_of_a_receive_locks_nothing(tmp_path: Path, clock: SteppedClock) -> None:
    """A receive that could not be made durable returns nothing."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    faults["COMMIT"] = 1
    with pytest.raises(BackendUnavailableError):
        await queue.receive(max_messages=1, wait_seconds=5, visibility_seconds=60, attempt_id="")
    (again,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    assert again.receive_count == 1
    await broker.close()


@pytest.mark.promise(10)
async def test_every_call_retries_a_broken_disk(tmp_path: Path, clock: SteppedClock) -> None:
    """Calls fail while the disk is broken; once it works the broker continues without a restart."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    faults.update({"COMMIT": 1, "SELECT salt": 2})
    for _ in range(3):
        with pytest.raises(BackendUnavailableError) as refused:
            await queue.send([message("a2")])
    assert refused.value.retry_after_seconds is not None
    await queue.send([message("a2")])
    assert await drain(queue) == {"a": ["a1", "a2"]}
    await broker.close()


@pytest.mark.promise(10)
@pytest.mark.parametrize("failures", [1, 2])
async def test_groups_that_could_not_be_read_are_read_again(tmp_path: Path, clock: SteppedClock, failures: int) -> None:
    """Those of stored messages are read when they are needed: a failure fails the call, and the next one succeeds."""
    broker, queue, _ = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1"), message("b1"), message("a2")])
    await broker.close()
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    faults["SELECT sequence, group_id FROM"] = failures
    for _ in range(failures):
        with pytest.raises(BackendUnavailableError):
            await queue.counts()
    assert (await queue.counts()).visible == 3
    assert await drain(queue) == {"a": ["a1", "a2"], "b": ["b1"]}
    await broker.close()


async def test_groups_that_could_not_be_read_between_commands_are_read_again(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """The state of a queue is observed after each group of commands; the thread survives a failure there."""
    broker, queue, _ = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    await broker.close()
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    faults["SELECT sequence, group_id FROM"] = 1
    await broker.run(lambda work: work.queue("q.fifo"))  # reads none of its messages
    assert await drain(queue) == {"a": ["a1"]}
    await broker.close()


@pytest.mark.promise(10)
async def test_waiting_receiver_retries_after_a_failure(tmp_path: Path, clock: SteppedClock) -> None:
    """After a failure the state is unknown; a waiting receive tries again and finds existing messages."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    waiting = asyncio.create_task(queue.receive(max_messages=1, wait_seconds=20, visibility_seconds=60, attempt_id=""))
    await queue.counts()
    faults["COMMIT"] = 1
    with pytest.raises(BackendUnavailableError):
        await queue.send([message("a1")])
    await queue.send([message("a1")])
    assert [each.body for each in await asyncio.wait_for(waiting, 5)] == [b"a1"]
    await broker.close()


@pytest.mark.promise(1)
async def test_full_disk_refuses_sends_and_keeps_its_messages(tmp_path: Path, clock: SteppedClock) -> None:
    """SQLite's page limit simulates a full disk: sends fail, deletes free space, sends succeed again."""

    def connect(file: Path) -> sqlite3.Connection:
        connection = schema.connect(file)
        connection.execute("PRAGMA max_page_count = 200")
        return connection

    broker = await EmbeddedBroker.open(tmp_path, clock, connect=connect)
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    kept: list[str] = []

    async def fill() -> None:
        for n in range(1_000):
            await queue.send([OutgoingMessage(b"x" * 10_000, "g", f"m{n}")])
            kept.append(f"m{n}")

    with pytest.raises(BackendUnavailableError, match="full"):
        await fill()
    assert 20 < len(kept) < 1_000
    assert await drain(queue) == {"g": kept}
    await queue.send([message("a1")])
    await broker.close()


def entry(message_id: str) -> AttemptEntry:
    """An attempt of a message."""
    return AttemptEntry(message_id, message_id, "s", "ns/r", 1, 0, "first", "delivered", "", 200, 1.0)


async def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until a condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.promise(13)
@pytest.mark.parametrize("fails", ["COMMIT", "INSERT INTO journal"])
async def test_journal_entries_of_a_failed_commit_are_written_later(
    tmp_path: Path, clock: SteppedClock, fails: str
) -> None:
    """While the disk is full and afterwards, with and without another command: no entry is lost or duplicated."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    faults[fails] = 2
    journal.note(entry("m1"))
    await wait_for(lambda: broker.write_error() is not None)
    journal.note(entry("m2"))
    await wait_for(lambda: broker.write_error() is None)
    await queue.send([message("a1")])
    assert [len(await journal.attempts(each)) for each in ("m1", "m2")] == [1, 1]
    await broker.close()


async def limited_queue(folder: Path, clock: SteppedClock) -> tuple[EmbeddedBroker, EmbeddedQueue, dict[str, int]]:
    """A broker whose next connections take `limit["pages"]` pages of the disk at most, and one of its queues."""
    limit = {"pages": 10_000}

    def connect(file: Path) -> sqlite3.Connection:
        connection = schema.connect(file)
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")
        return connection

    broker = await EmbeddedBroker.open(folder, clock, connect=connect)
    return broker, broker.queue(await broker.create_queue("q.fifo", FIFO)), limit


@pytest.mark.promise(1)
async def test_write_error_lasts_until_the_largest_message_can_be_stored(tmp_path: Path, clock: SteppedClock) -> None:
    """A little free space is not enough; the probe detects enough space without traffic."""
    broker, queue, limit = await limited_queue(tmp_path, clock)
    assert broker.write_error() is None
    used = (await broker.run(lambda work: work.read("PRAGMA page_count")))[0][0]
    limit["pages"] = used + 10
    await broker.run(lambda work: work.connection.execute(f"PRAGMA max_page_count = {used + 10}"))
    with pytest.raises(BackendUnavailableError, match="full"):
        await queue.send([OutgoingMessage(b"x" * 100_000, "g", "large")])
    assert "full" in (broker.write_error() or "")
    await queue.send([message("a1")])
    await asyncio.sleep(2.5)
    assert "full" in (broker.write_error() or "")
    limit["pages"] = 10_000
    await wait_for(lambda: broker.write_error() is None)
    await queue.send([OutgoingMessage(b"x" * 100_000, "g", "large")])
    await wait_for(lambda: broker.write_error() is None)
    assert await broker.run(lambda work: work.read("SELECT probe FROM state")) == [(None,)]
    await broker.close()


@pytest.mark.promise(2)
async def test_late_journal_entries_do_not_block_deletes(tmp_path: Path, clock: SteppedClock) -> None:
    """Deletes free space: they do not fail with the late entries, which are stored afterwards."""
    broker, queue, limit = await limited_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    for n in range(20):
        await queue.send([OutgoingMessage(b"x" * 60_000, "g", f"m{n}")])
    held = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id="")
    used = (await broker.run(lambda work: work.read("PRAGMA page_count")))[0][0]
    limit["pages"] = used
    await broker.run(lambda work: work.connection.execute(f"PRAGMA max_page_count = {used}"))
    for n in range(300):
        journal.note(replace(entry(f"j{n}"), detail="d" * 500))
    await wait_for(lambda: broker.write_error() is not None)
    assert await queue.delete([each.receipt_handle for each in held]) == [None] * 10
    await wait_for(lambda: broker.write_error() is None)
    assert [len(await journal.attempts(f"j{n}")) for n in (0, 150, 299)] == [1, 1, 1]
    await broker.close()


@pytest.mark.promise(13)
async def test_a_message_is_deleted_only_together_with_its_late_journal_entries(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """On its first queue and on a rung; entries of other messages wait for space on their own."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    await queue.send([OutgoingMessage(b"{}", "a", "1:first"), OutgoingMessage(b"{}", "b", "root-id:short:0:1")])
    first, hop = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=600, attempt_id="")
    faults["INSERT INTO journal"] = faults["INSERT INTO bodies"] = faults["UPDATE state SET probe"] = 1_000
    for each in (first.message_id, "root-id", "another"):
        journal.note(entry(each))
    await wait_for(lambda: broker.write_error() is not None)
    for held in (first, hop):
        with pytest.raises(BackendUnavailableError):
            await queue.delete([held.receipt_handle])
    faults["INSERT INTO journal"] = 0
    assert await queue.delete([first.receipt_handle, hop.receipt_handle]) == [None, None]
    assert broker.write_error() is not None
    rows = await broker.run(lambda work: work.read("SELECT DISTINCT message_id FROM journal"))
    assert {first.message_id, "root-id"} <= {each for (each,) in rows}
    faults.clear()
    await wait_for(lambda: broker.write_error() is None)
    for each in (first.message_id, "root-id", "another"):
        assert len(await journal.attempts(each)) == 1
    await broker.close()


@pytest.mark.promise(13)
async def test_an_entry_added_during_the_probe_is_stored(tmp_path: Path, clock: SteppedClock) -> None:
    """Also between the successful probe and its completion."""
    broker, _, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    faults["COMMIT"] = 1
    journal.note(entry("m1"))
    await wait_for(lambda: broker.write_error() is not None)
    tries = 0

    def note_one_more(_: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        loop.call_soon_threadsafe(journal.note, entry(f"late-{tries}"))

    loop = asyncio.get_running_loop()
    broker.submit_nowait(note_one_more)  # executed with the successful probe
    await wait_for(lambda: broker.write_error() is None and tries == 1)
    await asyncio.sleep(0.3)
    rows = await broker.run(lambda work: work.read("SELECT message_id FROM journal ORDER BY row"))
    assert [each for (each,) in rows] == ["m1", "late-1"]
    await broker.close()


@pytest.mark.promise(13)
async def test_a_late_entry_is_stored_once_if_its_message_is_deleted_right_after(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """The thread commits the probe's group and the delete before the loop learns of the first."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    journal, writer = EmbeddedBackend(broker).journal, broker._writer
    await queue.send([message("a1")])
    (held,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=600, attempt_id="")
    faults["INSERT INTO journal"] = 1
    journal.note(entry(held.message_id))
    await wait_for(lambda: broker.write_error() is not None)
    writer._probe()
    time.sleep(0.2)  # noqa: ASYNC251 - the loop must not run while the thread commits
    handle = HandleRequest(held.receipt_handle, read_handle(held.receipt_handle))
    deleting = writer.submit(lambda work: queue_operations.delete(work, "q.fifo", [handle]))
    time.sleep(0.2)  # noqa: ASYNC251 - as above
    assert await deleting == [None]
    assert len(await journal.attempts(held.message_id)) == 1
    await broker.close()


async def test_one_failing_action_does_not_fail_its_group(broker: EmbeddedBroker) -> None:
    """An error of one command, even a programming error, fails that command only."""
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))

    def broken(_: object) -> None:
        raise ZeroDivisionError

    results = await asyncio.gather(
        queue.send([message("a1")]),
        broker.run(broken),
        broker.queue("embedded://absent.fifo").send([message("a1")]),
        queue.send([message("a2")]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [list, ZeroDivisionError, BackendRejectedError, list]
    assert await drain(queue) == {"a": ["a1", "a2"]}


async def test_power_safe_settings_are_on(broker: EmbeddedBroker) -> None:
    """WAL with synchronous FULL: a commit is on the disk before it is acknowledged."""

    def settings(work: Any) -> tuple[str, int]:
        return (
            work.connection.execute("PRAGMA journal_mode").fetchone()[0],
            work.connection.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await broker.run(settings) == ("wal", 2)
