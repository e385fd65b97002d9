"""No error of the wall clock loses accepted or stored data."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.message.subject import first_deduplication_id
from chaski_core.ports import AttemptEntry, AttemptRecord, OutgoingMessage
from chaski_core.retry.ladder import LadderState
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import housekeeping, writer
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.fifo.sequence import first_sequence_at
from chaski_embedded.provision import resolve
from chaski_embedded.storage import schema
from chaski_embedded.storage.reader import open_reader
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter
from unit.embedded.broker.test_housekeeping import rows, sweep
from unit.embedded.test_provision import ROUTE

Open = Callable[[], Awaitable[EmbeddedBroker]]
HOUR, DAY = 3_600, 86_400


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the next start a reboot: the monotonic clock has no relation to the time before."""
    boots = [writer._boot_id()]
    monkeypatch.setattr(writer, "_boot_id", lambda: boots[-1])
    return lambda: boots.append(boots[-1] + "x")


async def fill(broker: EmbeddedBroker, clock: SteppedClock) -> str:
    """A message of ingest, one that was delivered, a dead letter, an attempt record; the URL of the queue."""
    resolved = await resolve(broker, replace(ROUTE, retention_days=30))
    url = resolved.current.queues["messages"][0]
    backend = EmbeddedBackend(broker)
    queue = broker.queue(url)
    ids = ("waits", "delivered", "dead")
    await queue.send([OutgoingMessage(b"{}", each, first_deduplication_id(each)) for each in ids])
    taken = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    now = clock.now_ms()
    waits, delivered, dead = (each.message_id for each in taken)
    backend.journal.note(AttemptEntry(delivered, "delivered", "s", "ns/r", 1, now, "first", "delivered", "", 200, 1.0))
    await backend.dead_letters.put(a_dead_letter(dead, id="dead", dead_lettered_at=now, error_class="503"))
    record = AttemptRecord(LadderState("5xx", 0, ()), now)
    await backend.attempt_records.write(waits, record)
    await queue.delete([each.receipt_handle for each in taken[1:]])
    return url


async def check(broker: EmbeddedBroker, url: str) -> None:
    """All of it exists, and the ledger is exact."""
    assert (await broker.queue(url).counts()).total == 1
    for table in ("dead_letters", "died", "journal", "attempt_records", "bodies"):
        assert await rows(broker, table) == 1, table
    assert [each.id async for each in EmbeddedBackend(broker).dead_letters.find(DeadLetterFilter())] == ["dead"]
    with open_reader(broker.file.parent) as reader:
        ledger = reader.ledger()
    assert (ledger.accepted, ledger.delivered, ledger.dead_lettered, ledger.pending) == (3, 1, 1, 1)
    assert (ledger.unaccounted, ledger.dropped) == (0, 0)


@pytest.mark.promise(2)
@pytest.mark.parametrize("days", [-3_650, -400, -2 / 24, 2 / 24, 20, 400, 3_650])
@pytest.mark.parametrize("new_boot_id", [True, False])
async def test_a_start_with_a_wrong_clock_loses_nothing(
    open_broker: Open, clock: SteppedClock, reboot: Callable[[], None], days: float, new_boot_id: bool
) -> None:
    """Half an hour with a wrong clock, then a start with the right one: nothing is lost."""
    broker = await open_broker()
    url = await fill(broker, clock)
    await broker.close()
    for by in (days * DAY, -days * DAY):
        clock.set_wall(by)
        if new_boot_id:
            reboot()
        broker = await open_broker()
        await sweep(broker, housekeeping.Cursor())
        clock.pass_time(0.5 * HOUR)
        await sweep(broker, housekeeping.Cursor())
        await check(broker, url)
        await broker.close()
    (taken,) = (
        await (await open_broker())
        .queue(url)
        .receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    )
    assert taken.group_id == "waits"


@pytest.mark.promise(2)
async def test_a_jump_while_it_runs_loses_nothing(open_broker: Open, clock: SteppedClock) -> None:
    """+45 days, back, 2 hours back, over hours; a day after the last jump retention applies again."""
    broker = await open_broker()
    url = await fill(broker, clock)
    clock.pass_time(2 * HOUR)
    await sweep(broker, housekeeping.Cursor())
    for by in (45 * DAY, -45 * DAY, -2 * HOUR, 2 * HOUR, 45 * DAY):
        clock.set_wall(by)
        for _ in range(3):
            await sweep(broker, housekeeping.Cursor())
            clock.pass_time(7 * HOUR)
        await check(broker, url)
    clock.pass_time(4 * HOUR)
    await sweep(broker, housekeeping.Cursor())
    assert (await rows(broker, "dead_letters"), await rows(broker, "journal")) == (0, 0)
    assert (await rows(broker, "attempt_records"), await rows(broker, "bodies")) == (1, 1)  # the message still waits


@pytest.mark.promise(2)
async def test_restarts_after_a_jump_do_not_shorten_the_pause(open_broker: Open, clock: SteppedClock) -> None:
    """A process that restarts every two hours with a wrong clock deletes nothing for a day of running time."""
    broker = await open_broker()
    url = await fill(broker, clock)
    clock.set_wall(400 * DAY)
    for _ in range(11):
        await sweep(broker, housekeeping.Cursor())
        clock.pass_time(2 * HOUR)
        await sweep(broker, housekeeping.Cursor())
        await check(broker, url)
        await broker.run(lambda work: work.sql())  # a commit, as by any traffic
        await broker.close()
        broker = await open_broker()
    clock.pass_time(3 * HOUR)
    await sweep(broker, housekeeping.Cursor())
    assert await rows(broker, "dead_letters") == 0


@pytest.mark.promise(2)
async def test_a_folder_unused_for_weeks_is_usable(
    open_broker: Open, clock: SteppedClock, reboot: Callable[[], None]
) -> None:
    """Twenty-five days: the message is received, and stored data exists."""
    broker = await open_broker()
    url = await fill(broker, clock)
    await broker.close()
    clock.pass_time(25 * DAY)
    reboot()
    broker = await open_broker()
    await sweep(broker, housekeeping.Cursor())
    await check(broker, url)
    (taken,) = await broker.queue(url).receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    assert (taken.group_id, taken.receive_count) == ("waits", 2)
    clock.pass_time(400 * DAY)
    await sweep(broker, housekeeping.Cursor())
    assert (await rows(broker, "bodies"), await rows(broker, "attempt_records")) == (1, 1)


async def test_deduplication_and_delays_follow_no_wall_clock_over_a_restart(
    open_broker: Open, clock: SteppedClock
) -> None:
    """A process restarted with another wall clock recognises a repeat, and ends no delay early."""
    broker = await open_broker()
    resolved = await resolve(broker, ROUTE)
    url, rung = resolved.current.queues["messages"][0], resolved.rungs[1].url
    message = OutgoingMessage(b"x", "a", "a1")
    (first,) = await broker.queue(url).send([message])
    await broker.queue(rung).send([message])
    await broker.close()
    clock.set_wall(400 * DAY)
    broker = await open_broker()
    assert list(await broker.queue(url).send([message])) == [first]
    assert (await broker.queue(rung).counts()).delayed == 1
    clock.pass_time(901)
    assert (await broker.queue(rung).counts()).visible == 1


@pytest.mark.promise(2)
async def test_routes_of_an_earlier_release_keep_their_messages(
    open_broker: Open, tmp_path: Path, clock: SteppedClock
) -> None:
    """A folder of a release before the mark: queues of routes are recognised by their tag, others expire."""
    sent_at = clock.now_ms() - 20 * DAY * 1000
    (tmp_path / "data").mkdir()
    connection = schema.connect(tmp_path / "data" / schema.FILE_NAME)
    connection.executescript("".join(schema._MIGRATIONS[:3]))
    connection.execute("INSERT INTO state (id, salt, last_sequence, queue_time) VALUES (1, x'00', 0, ?)", (sent_at,))
    for number, tags in enumerate(['{"chaski": "route"}', "{}"], 1):
        connection.execute("INSERT INTO queues VALUES (?, ?, '{}', ?, 0, 0, 0, 0)", (number, f"q{number}.fifo", tags))
        sequence = first_sequence_at(sent_at) + number
        values = (sequence, number, "g", f"m{number}", sent_at)
        connection.execute(
            "INSERT INTO messages (sequence, queue, group_id, dedup_id, sent_at) VALUES (?, ?, ?, ?, ?)", values
        )
        connection.execute("INSERT INTO bodies VALUES (?, x'00', NULL)", (sequence,))
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    broker = await open_broker()
    await sweep(broker, housekeeping.Cursor())
    totals = [(await broker.queue(f"embedded://q{number}.fifo").counts()).total for number in (1, 2)]
    assert totals == [1, 0]
