"""A data folder that a release before identities wrote (commit edfeed9 made the dump): nothing is lost or miscounted.

Labels in it: `a` was delivered; `b` waits on its first queue; `c` failed once and waits on a rung; `d` to `g` are dead
letters, of which `e` was replayed and waits, `f` failed again and waits on a rung, and `g` was delivered by its replay.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter, ReplayMark
from chaski_core.ports import AttemptEntry, AttemptRecord, ReceivedMessage
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.storage import schema
from chaski_embedded.storage.reader import Reader, open_reader
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter

DUMP = Path(__file__).parents[1] / "data" / "before_identities.sql"
AT = 1_799_999_000_000
SUBJECT = "order 7"


@pytest.fixture
async def broker(tmp_path: Path, clock: SteppedClock) -> EmbeddedBroker:
    """This release on a folder of that one."""
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(sqlite3.connect(folder / schema.FILE_NAME)) as connection:
        connection.executescript(DUMP.read_text("utf-8"))
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    return await EmbeddedBroker.open(folder, clock)


@pytest.fixture
def reader(broker: EmbeddedBroker) -> Iterator[Reader]:
    """A reader on the same folder."""
    with open_reader(broker.file.parent) as opened:
        yield opened


def letter(label: str, replay: ReplayMark | None = None) -> DeadLetter:
    """A dead letter as that release stored it: by label, with the time at which its message was sent."""
    return a_dead_letter(
        label,
        subject=SUBJECT,
        dead_lettered_at=AT + ord(label),
        error_class="503",
        url="http://x/",
        errors=(ErrorNote("503", AT, "HTTP 503", "busy"),),
        envelope={"subject": SUBJECT, "body": {"url": "http://x/"}, "metadata": {"id": label}},
        replay=replay,
    )


async def take(broker: EmbeddedBroker, queue: str) -> list[ReceivedMessage]:
    """Receives and deletes all messages of a queue."""
    taken: list[ReceivedMessage] = []
    source = broker.queue(f"embedded://{queue}")
    while batch := await source.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id=""):
        await source.delete([message.receipt_handle for message in batch])
        taken += batch
    return taken


@pytest.mark.promise(5)
async def test_dead_letters_attempts_and_records_are_read_exactly(broker: EmbeddedBroker, reader: Reader) -> None:
    """Keys, marks and times unchanged; by label in place of the identity."""
    mark = ReplayMark("run", 1, AT + 500)
    kept = [letter("d"), *(letter(label, mark) for label in "efg")]
    backend = EmbeddedBackend(broker)
    assert [each async for each in backend.dead_letters.find(DeadLetterFilter())] == kept
    assert list(await backend.dead_letters.get("e")) == [kept[1]]
    failed = AttemptEntry("c", "c", SUBJECT, "ns/r", 1, AT + 2, "first", "failed", "503", 503, 12.5, "HTTP 503")
    assert list(reader.attempts("c")) == [failed]
    ladder = LadderState("503", 1, (ErrorNote("503", AT, "HTTP 503", "busy"),))
    assert await backend.attempt_records.read("m-1") == AttemptRecord(ladder, AT + 9)
    await backend.dead_letters.discard([kept[0].key])
    assert await _labels(backend) == ["e", "f", "g"]
    await broker.close()


@pytest.mark.promise(2)
async def test_existing_messages_are_in_the_ledger_before_and_after_their_delivery(
    broker: EmbeddedBroker, reader: Reader
) -> None:
    """Messages and replays sent by the older release have the identity of their current queue, and count once."""
    found = reader.ledger()
    assert (found.accepted, found.delivered, found.dead_lettered, found.pending) == (7, 2, 1, 4)
    journal = EmbeddedBackend(broker).journal
    for queue in ("first.fifo", "fast.fifo"):
        for message in await take(broker, queue):
            label = message.deduplication_id.partition(":")[0]
            journal.note(
                AttemptEntry(message.message_id, label, SUBJECT, "ns/r", 2, AT + 9, "retry", "delivered", "", 200, 1.0)
            )
    await journal.attempts("")
    found = reader.ledger()
    assert (found.delivered, found.dead_lettered, found.pending, found.unaccounted) == (6, 1, 0, 0)
    assert found.balanced
    await broker.close()


@pytest.mark.promise(13)
async def test_every_message_is_traced_by_its_label(broker: EmbeddedBroker, reader: Reader) -> None:
    """With the attempts stored by the older release, and its replays."""
    states = {label: [trace.state.value for trace in reader.traces(label)] for label in "abcdefg"}
    assert states == {
        "a": ["delivered"],
        "b": ["pending"],
        "c": ["pending"],
        "d": ["dead-lettered"],
        "e": ["dead-lettered", "pending"],
        "f": ["dead-lettered", "pending"],
        "g": ["delivered"],
    }
    (waiting,) = reader.traces("c")
    assert [entry.number for entry in waiting.attempts] == [1]
    assert waiting.message_id != "c"
    assert [trace.message_id for trace in reader.traces(waiting.message_id)] == [waiting.message_id]
    assert reader.traces("e")[1].replay_of == "e"
    await broker.close()


async def _labels(backend: EmbeddedBackend) -> list[str]:
    return [each.id async for each in backend.dead_letters.find(DeadLetterFilter())]
