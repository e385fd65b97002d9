"""The state of a data folder over restarts and wrong clocks."""

import os
import stat
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import Failed, OutgoingMessage, ReceivedMessage, Sent
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import AttributedMessage, EmbeddedQueue
from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.fifo.sequence import first_sequence_at, message_id, next_sequence, read_handle, time_of
from chaski_embedded.storage import schema
from support.clocks import SteppedClock, StillClock

Open = Callable[[], Awaitable[EmbeddedBroker]]
URL = "embedded://q.fifo"


async def make_queue(broker: EmbeddedBroker, **attributes: str) -> EmbeddedQueue:
    """The test's queue."""
    return broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true", **attributes}))


async def take(queue: EmbeddedQueue, limit: int = 10, seconds: int = 60) -> list[ReceivedMessage]:
    """A receive that does not wait."""
    return list(await queue.receive(max_messages=limit, wait_seconds=0, visibility_seconds=seconds, attempt_id=""))


async def send(queue: EmbeddedQueue, *names: str) -> list[Sent | Failed]:
    """Sends messages with their group's name as prefix."""
    return list(await queue.send([OutgoingMessage(name.encode(), name[0], name) for name in names]))


def names(messages: list[ReceivedMessage]) -> list[str]:
    """The names of messages."""
    return [message.body.decode() for message in messages]


async def test_visibility_timeouts_survive_a_restart(open_broker: Open, clock: SteppedClock) -> None:
    """Another process may still have them: the handle is valid, the group locked, the time continues."""
    broker = await open_broker()
    await send(await make_queue(broker), "a1", "a2", "b1")
    held = await take(broker.queue(URL), 1)
    await broker.close()
    queue = (await open_broker()).queue(URL)
    assert names(await take(queue, seconds=0)) == ["b1"]
    assert await queue.delete([held[0].receipt_handle]) == [None]
    assert names(await take(queue, seconds=30)) == ["a2", "b1"]
    clock.pass_time(31)
    again = await take(queue)
    assert [(message.body, message.receive_count) for message in again] == [(b"a2", 2), (b"b1", 3)]


async def test_release_in_flight_makes_everything_visible(open_broker: Open) -> None:
    """The only process on the folder need not wait for visibility timeouts of an earlier one."""
    broker = await open_broker()
    await send(await make_queue(broker), "a1", "a2", "b1")
    await take(broker.queue(URL))
    await broker.close()
    broker = await open_broker()
    assert await broker.release_in_flight() == 3
    assert names(await take(broker.queue(URL))) == ["a1", "a2", "b1"]


async def test_deduplication_survives_a_restart(open_broker: Open, clock: SteppedClock) -> None:
    """A hop repeated after a crash is one message, also if the first was delivered and deleted."""
    broker = await open_broker()
    queue = await make_queue(broker)
    first = await send(queue, "a1", "a2")
    await queue.delete([message.receipt_handle for message in await take(queue, 1)])
    await broker.close()
    queue = (await open_broker()).queue(URL)
    assert await send(queue, "a1", "a2") == first
    assert names(await take(queue)) == ["a2"]
    clock.pass_time(301)
    assert (await send(queue, "a1"))[0] != first[0]


async def test_delay_survives_a_restart(open_broker: Open, clock: SteppedClock) -> None:
    """A rung's delay continues while no process runs."""
    broker = await open_broker()
    await send(await make_queue(broker, DelaySeconds="60"), "a1")
    await broker.close()
    clock.pass_time(30)
    queue = (await open_broker()).queue(URL)
    assert (await queue.counts()).delayed == 1
    clock.pass_time(31)
    assert names(await take(queue)) == ["a1"]


async def test_attributes_of_messages_are_stored(open_broker: Open) -> None:
    """They are returned with the body, before and after a restart."""
    broker = await open_broker()
    queue = await make_queue(broker)
    await queue.send([AttributedMessage(b"x", "a", "1", b"\x00beside"), OutgoingMessage(b"y", "a", "2")])
    await broker.close()
    queue = (await open_broker()).queue(URL)
    got = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id="")
    assert [message.attributes for message in got] == [b"\x00beside", None]


@pytest.mark.parametrize("by_seconds", [-86_400, 86_400], ids=["back", "forth"])
async def test_setting_the_wall_clock_changes_no_timeout(
    open_broker: Open, clock: SteppedClock, by_seconds: int
) -> None:
    """Visibility timeouts, delays and deduplication use queue time, not the wall clock."""
    queue = await make_queue(await open_broker(), DelaySeconds="10")
    await send(queue, "a1", "b1")
    clock.set_wall(by_seconds)
    assert (await queue.counts()).delayed == 2
    clock.pass_time(11)
    assert names(await take(queue, 1)) == ["a1"]
    clock.set_wall(2 * by_seconds)
    clock.pass_time(59)
    assert names(await take(queue, seconds=1)) == ["b1"]
    clock.pass_time(2)
    assert names(await take(queue)) == ["a1", "b1"]


async def test_wall_clock_set_back_over_a_restart_prolongs_no_timeout(open_broker: Open, clock: SteppedClock) -> None:
    """The last queue time is in the file: a visibility timeout does not get longer."""
    broker = await open_broker()
    await send(await make_queue(broker), "a1")
    await take(broker.queue(URL), seconds=60)
    await broker.close()
    clock.set_wall(-86_400)
    queue = (await open_broker()).queue(URL)
    assert names(await take(queue)) == []
    clock.pass_time(61)
    assert names(await take(queue)) == ["a1"]


async def test_sequence_numbers_never_repeat(open_broker: Open, clock: SteppedClock) -> None:
    """Even if everything is deleted, the process restarted and the clock set back."""
    broker = await open_broker()
    queue = await make_queue(broker)
    (first,) = await send(queue, "a1")
    await queue.delete([message.receipt_handle for message in await take(queue)])
    await broker.close()
    clock.set_wall(-86_400)
    (second,) = await send((await open_broker()).queue(URL), "a2")
    assert isinstance(first, Sent)
    assert isinstance(second, Sent)
    assert second.sequence_number > first.sequence_number
    assert second.message_id != first.message_id


async def test_sent_time_is_the_wall_clock_and_stays(open_broker: Open, clock: SteppedClock) -> None:
    """SentTimestamp is the same in every receive, also after a restart."""
    broker = await open_broker()
    queue = await make_queue(broker)
    clock.set_wall(-5_000)
    before = clock.now_ms()
    await send(queue, "a1")
    (first,) = await take(queue, seconds=0)
    await broker.close()
    clock.pass_time(1_000)
    (again,) = await take((await open_broker()).queue(URL))
    assert before <= first.sent_at <= before + 60_000
    assert (again.sent_at, again.first_received_at) == (first.sent_at, first.first_received_at)
    assert again.message_id == first.message_id


@pytest.mark.promise(14)
async def test_a_data_folder_is_readable_by_its_owner_only(open_broker: Open, tmp_path: Path) -> None:
    """Headers contain secrets: no other user of the machine may read them, whatever the umask is."""
    before = os.umask(0o000)
    try:
        queue = await make_queue(await open_broker())
        await send(queue, "a1")
    finally:
        os.umask(before)
    folder = tmp_path / "data"
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())}
    assert modes == {"data": 0o700, "chaski.db": 0o600, "chaski.db-wal": 0o600, "chaski.db-shm": 0o600, "lock": 0o600}


@pytest.mark.promise(14)
async def test_files_of_an_earlier_release_are_closed_to_others(open_broker: Open, tmp_path: Path) -> None:
    """They were readable for everyone. An existing folder keeps its mode, since it may contain other files."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    broker = await open_broker()
    await make_queue(broker)
    await broker.close()
    (folder / "chaski.db").chmod(0o644)
    (folder / "chaski.db-wal").write_bytes(b"")
    (folder / "chaski.db-wal").chmod(0o644)
    await make_queue(await open_broker())
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.glob("chaski.db*")}
    assert modes == {"chaski.db": 0o600, "chaski.db-wal": 0o600, "chaski.db-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


async def test_second_owner_is_refused(open_broker: Open, tmp_path: Path, clock: SteppedClock) -> None:
    """Two processes never own one folder; the error names the other process and the fix."""
    broker = await open_broker()
    message = rf"/data is in use by process {os.getpid()}: stop it, or use another data folder$"
    with pytest.raises(BackendRejectedError, match=message) as refused:
        await EmbeddedBroker.open(tmp_path / "data", clock)
    assert refused.value.code == "DataInUse"
    await broker.close()
    await open_broker()


async def test_folder_of_a_newer_release_is_not_changed(open_broker: Open, tmp_path: Path, clock: SteppedClock) -> None:
    """It is refused as DataTooNew, and the folder is not locked."""
    await (await open_broker()).close()
    connection = schema.connect(tmp_path / "data" / schema.FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for _ in range(2):
        with pytest.raises(BackendRejectedError, match="version 99") as refused:
            await EmbeddedBroker.open(tmp_path / "data", clock)
        assert refused.value.code == "DataTooNew"


@pytest.mark.parametrize("place", ["file", "folder"])
async def test_an_unusable_data_folder_is_refused(tmp_path: Path, clock: SteppedClock, place: str) -> None:
    """A file in place of the folder, and another file in place of the database."""
    folder = tmp_path / "data"
    if place == "folder":
        folder.write_text("not a folder")
    else:
        folder.mkdir()
        (folder / schema.FILE_NAME).write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(BackendRejectedError) as refused:
        await EmbeddedBroker.open(folder, clock)
    assert refused.value.code == "DataUnusable"


async def test_closed_broker_refuses_calls(open_broker: Open) -> None:
    """Calls after the close fail at once, and a second close does nothing."""
    broker = await open_broker()
    queue = await make_queue(broker)
    await broker.close()
    await broker.close()
    with pytest.raises(Exception, match="closed"):
        await send(queue, "a1")


async def test_messages_of_one_millisecond_keep_their_order(tmp_path: Path) -> None:
    """Sequence numbers increase while the clock does not."""
    broker = await EmbeddedBroker.open(tmp_path, StillClock())
    queue = await make_queue(broker)
    sent = [await send(queue, f"a{n}") for n in range(30)]
    numbers = [each.sequence_number for (each,) in sent if isinstance(each, Sent)]
    assert numbers == list(range(numbers[0], numbers[0] + 30))
    await broker.close()


def test_sequence_contains_its_time_and_never_decreases() -> None:
    """A number contains the time of sending; where the clock goes back it continues counting."""
    first = next_sequence(0, 1_800_000_000_000)
    assert time_of(first) == 1_800_000_000_000
    assert next_sequence(first, 1_700_000_000_000) == first + 1
    assert first.bit_length() <= 63


def test_other_texts_are_not_handles() -> None:
    """A text that is not in the format of a handle is recognised."""
    assert read_handle("") is None
    assert read_handle("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a") is None
    assert read_handle("1-1-2-3\n") is None
    assert read_handle("1-1-" + "f" * 17 + "-1") is None
    handle = read_handle("1-a-ff-2")
    assert handle is not None
    assert handle.handle() == "1-a-ff-2"


def test_message_ids_have_the_form_of_uuids_and_differ_between_files() -> None:
    """The same number in another file has another id."""
    one, other = message_id(b"salt1", 7), message_id(b"salt2", 7)
    assert one != other
    assert [len(part) for part in one.split("-")] == [8, 4, 4, 4, 12]


async def test_many_waiting_messages_need_little_memory(open_broker: Open, clock: SteppedClock) -> None:
    """100,000 of them, each of a subject of its own: started with less than 100 bytes for each, and received in order."""
    number = 100_000
    broker = await open_broker()
    await make_queue(broker)

    def fill(work: UnitOfWork) -> None:
        queue, first = work.queues["q.fifo"].id, work.now - 3_600_000
        rows = [(n, first_sequence_at(first + n)) for n in range(number)]
        work.sql().executemany(
            "INSERT INTO messages (sequence, queue, group_id, dedup_id, sent_at) VALUES (?, ?, ?, ?, ?)",
            ((sequence, queue, f"subject-{n}", str(n), work.wall) for n, sequence in rows),
        )
        work.sql().executemany(
            "INSERT INTO bodies (sequence, body) VALUES (?, ?)", ((sequence, b"%d" % n) for n, sequence in rows)
        )

    await broker.run(fill)
    await broker.close()
    tracemalloc.start()
    try:
        queue = (await open_broker()).queue(URL)
        assert (await queue.counts()).visible == number
        first = await take(queue, seconds=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert names(first) == [str(n) for n in range(10)]
    assert peak < 100 * number
    clock.pass_time(2)  # they are visible again, and behind all the others, which have waited for longer
    assert names(await take(queue)) == [str(n) for n in range(10, 20)]
