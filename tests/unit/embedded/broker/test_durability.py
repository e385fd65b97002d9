"""Nothing acknowledged is lost: not by kill -9, not by a disk that is full, not by a commit that fails."""

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
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.queue import EmbeddedQueue
from chaski_embedded.storage import schema
from support.clocks import SteppedClock
from support.processes import sender

ROUNDS = 12
FIFO = {"FifoQueue": "true"}


def run_and_kill(folder: Path, round_number: int, seconds: float) -> list[str]:
    """Lets a process send for a while, kills it with SIGKILL; the ids that it had acknowledged."""
    command = [sys.executable, sender.__file__, str(folder), str(round_number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        rest = process.stdout.read()
    return (first + rest.rpartition(b"\n")[0]).decode().split()  # a line cut short was not acknowledged to anybody


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
    """A process is killed again and again while it sends; all that it had acknowledged is there, once and in order."""
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
    """A connection whose next statements of a kind fail, as on a disk that is full or broken."""

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
    """A broker whose disk fails when told to."""
    faults: dict[str, int] = {}

    def connect(file: Path) -> Any:
        return FaultyConnection(file, faults)

    broker = await EmbeddedBroker.open(folder, clock, connect=connect)
    url = await broker.create_queue("q.fifo", FIFO)
    return broker, broker.queue(url), faults


def message(name: str) -> OutgoingMessage:
    """A message called after its group."""
    return OutgoingMessage(name.encode(), name[0], name)


@pytest.mark.parametrize("fails", ["COMMIT", "BEGIN", "INSERT INTO messages", "INSERT INTO bodies"])
@pytest.mark.promise(1)
async def test_failed_commit_fails_every_send_of_its_group(tmp_path: Path, clock: SteppedClock, fails: str) -> None:
    """None of them is acknowledged, none is there; what was before is, and the next send succeeds."""
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
    """The delete was not acknowledged; the message is still held under the same handle, and can be deleted."""
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
    """A receive that could not be made durable hands nothing out."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    faults["COMMIT"] = 1
    with pytest.raises(BackendUnavailableError):
        await queue.receive(max_messages=1, wait_seconds=5, visibility_seconds=60, attempt_id="")
    (again,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    assert again.receive_count == 1
    await broker.close()


@pytest.mark.promise(10)
async def test_disk_that_stays_broken_is_tried_again_for_each_call(tmp_path: Path, clock: SteppedClock) -> None:
    """While it is broken every call says so; when it is mended the broker goes on, without a restart."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    await queue.send([message("a1")])
    faults.update({"COMMIT": 1, "SELECT salt": 2})
    for _ in range(3):
        with pytest.raises(BackendUnavailableError) as away:
            await queue.send([message("a2")])
    assert away.value.retry_after_seconds is not None
    await queue.send([message("a2")])
    assert await drain(queue) == {"a": ["a1", "a2"]}
    await broker.close()


@pytest.mark.promise(10)
async def test_waiting_receiver_learns_of_a_failure(tmp_path: Path, clock: SteppedClock) -> None:
    """After a failure nothing is known; who waits looks anew and finds what is there."""
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
async def test_full_disk_refuses_and_keeps_what_it_has(tmp_path: Path, clock: SteppedClock) -> None:
    """SQLite's own limit of pages stands for the disk's end: sends fail, deletes make room, sends succeed again."""

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
    """An attempt that was made."""
    return AttemptEntry(message_id, message_id, "s", "ns/r", 1, 0, "first", "delivered", "", 200, 1.0)


async def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.promise(13)
@pytest.mark.parametrize("fails", ["COMMIT", "INSERT INTO journal"])
async def test_attempts_noted_with_a_failed_commit_are_noted_again(
    tmp_path: Path, clock: SteppedClock, fails: str
) -> None:
    """While the disk is full and after it, by a next command and without one: no note is lost or doubled."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    faults[fails] = 2
    journal.note(entry("m1"))
    await wait_for(lambda: broker.trouble() is not None)
    journal.note(entry("m2"))
    await wait_for(lambda: broker.trouble() is None)
    await queue.send([message("a1")])
    assert [len(await journal.attempts(each)) for each in ("m1", "m2")] == [1, 1]
    await broker.close()


@pytest.mark.promise(1)
async def test_trouble_lasts_until_a_message_of_the_largest_size_can_be_stored(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """A little room is not enough; no traffic is needed to find out that there is enough."""
    limit = {"pages": 10_000}

    def connect(file: Path) -> sqlite3.Connection:
        connection = schema.connect(file)
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")
        return connection

    broker = await EmbeddedBroker.open(tmp_path, clock, connect=connect)
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    assert broker.trouble() is None
    used = (await broker.run(lambda session: session.read("PRAGMA page_count")))[0][0]
    limit["pages"] = used + 10
    await broker.run(lambda session: session.connection.execute(f"PRAGMA max_page_count = {used + 10}"))
    with pytest.raises(BackendUnavailableError, match="full"):
        await queue.send([OutgoingMessage(b"x" * 100_000, "g", "large")])
    assert "full" in (broker.trouble() or "")
    await queue.send([message("a1")])
    await asyncio.sleep(2.5)
    assert "full" in (broker.trouble() or "")
    limit["pages"] = 10_000
    await wait_for(lambda: broker.trouble() is None)
    await queue.send([OutgoingMessage(b"x" * 100_000, "g", "large")])
    await wait_for(lambda: broker.trouble() is None)
    assert await broker.run(lambda session: session.read("SELECT probe FROM state")) == [(None,)]
    await broker.close()


@pytest.mark.promise(2)
async def test_notes_that_find_no_room_stop_no_delete(tmp_path: Path, clock: SteppedClock) -> None:
    """Deletes are what makes room: they don't fail with what waits for it, and then it finds its place."""
    limit = {"pages": 10_000}

    def connect(file: Path) -> sqlite3.Connection:
        connection = schema.connect(file)
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")
        return connection

    broker = await EmbeddedBroker.open(tmp_path, clock, connect=connect)
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    journal = EmbeddedBackend(broker).journal
    for n in range(20):
        await queue.send([OutgoingMessage(b"x" * 60_000, "g", f"m{n}")])
    held = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id="")
    used = (await broker.run(lambda session: session.read("PRAGMA page_count")))[0][0]
    limit["pages"] = used
    await broker.run(lambda session: session.connection.execute(f"PRAGMA max_page_count = {used}"))
    for n in range(300):
        journal.note(replace(entry(f"j{n}"), detail="d" * 500))
    await wait_for(lambda: broker.trouble() is not None)
    assert await queue.delete([each.receipt_handle for each in held]) == [None] * 10
    await wait_for(lambda: broker.trouble() is None)
    assert [len(await journal.attempts(f"j{n}")) for n in (0, 150, 299)] == [1, 1, 1]
    await broker.close()


@pytest.mark.promise(13)
async def test_a_message_is_deleted_with_the_late_notes_of_its_attempts_or_not_at_all(
    tmp_path: Path, clock: SteppedClock
) -> None:
    """On its first queue as on a rung; the notes of other messages wait for room by themselves."""
    broker, queue, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    await queue.send([OutgoingMessage(b"{}", "a", "1:first"), OutgoingMessage(b"{}", "b", "root-id:short:0:1")])
    first, hop = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=600, attempt_id="")
    faults["INSERT INTO journal"] = faults["INSERT INTO bodies"] = faults["UPDATE state SET probe"] = 1_000
    for each in (first.message_id, "root-id", "another"):
        journal.note(entry(each))
    await wait_for(lambda: broker.trouble() is not None)
    for held in (first, hop):
        with pytest.raises(BackendUnavailableError):
            await queue.delete([held.receipt_handle])
    faults["INSERT INTO journal"] = 0
    assert await queue.delete([first.receipt_handle, hop.receipt_handle]) == [None, None]
    assert broker.trouble() is not None
    rows = await broker.run(lambda session: session.read("SELECT DISTINCT message_id FROM journal"))
    assert {first.message_id, "root-id"} <= {each for (each,) in rows}
    faults.clear()
    await wait_for(lambda: broker.trouble() is None)
    for each in (first.message_id, "root-id", "another"):
        assert len(await journal.attempts(each)) == 1
    await broker.close()


@pytest.mark.promise(13)
async def test_a_note_that_comes_while_storing_is_tried_again_is_stored(tmp_path: Path, clock: SteppedClock) -> None:
    """Between the successful try and the news of it, too."""
    broker, _, faults = await faulty_queue(tmp_path, clock)
    journal = EmbeddedBackend(broker).journal
    faults["COMMIT"] = 1
    journal.note(entry("m1"))
    await wait_for(lambda: broker.trouble() is not None)
    tries = 0

    def note_one_more(_: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        loop.call_soon_threadsafe(journal.note, entry(f"late-{tries}"))

    loop = asyncio.get_running_loop()
    broker.ride(note_one_more)  # carried out with the try that succeeds
    await wait_for(lambda: broker.trouble() is None and tries == 1)
    await asyncio.sleep(0.3)
    rows = await broker.run(lambda session: session.read("SELECT message_id FROM journal ORDER BY row"))
    assert [each for (each,) in rows] == ["m1", "late-1"]
    await broker.close()


async def test_one_failing_action_leaves_its_group_alone(broker: EmbeddedBroker) -> None:
    """A fault in one command, even a programming error, fails that command and no other."""
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
    """WAL with synchronous FULL: a commit is on the disk before it is told."""

    def settings(session: Any) -> tuple[str, int]:
        return (
            session.connection.execute("PRAGMA journal_mode").fetchone()[0],
            session.connection.execute("PRAGMA synchronous").fetchone()[0],
        )

    assert await broker.run(settings) == ("wal", 2)
