"""What another process reads of a data folder while its owner works."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core.deadletter import DeadLetter, DeadLetterFilter
from chaski_core.envelope import Metadata, write_envelope
from chaski_core.errors import BackendRejectedError
from chaski_core.ladder import Reason
from chaski_core.ports import AttemptEntry, OutgoingMessage
from chaski_core.subject import deduplication_id, group_id
from chaski_embedded import letters, schema
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker import EmbeddedBroker
from chaski_embedded.queue import EmbeddedQueue
from chaski_embedded.reader import Reader, State, Trace, open_reader

SUBJECT = "order 7 \U0001f600"
NOON = 1_800_000_000_000


@pytest.fixture
async def queue(broker: EmbeddedBroker) -> EmbeddedQueue:
    """A queue of a route."""
    return broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true"}))


@pytest.fixture
def reader(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Reader]:
    """The folder that the broker owns, read beside it."""
    assert broker.file.is_file()
    with open_reader(tmp_path / "data") as opened:
        yield opened


def outgoing(message_id: str, epoch: int = 0) -> OutgoingMessage:
    """A message as ingest puts it on its queue."""
    body = write_envelope({"subject": SUBJECT, "body": {"url": "http://x/"}}, Metadata(id=message_id, epoch=epoch))
    return OutgoingMessage(body, group_id(SUBJECT), deduplication_id(message_id, epoch, "first", 0))


def attempt(message_id: str, outcome: str = "failed", number: int = 1, at: int = NOON) -> AttemptEntry:
    """An attempt as the worker notes it."""
    status = 204 if outcome == "delivered" else 503
    return AttemptEntry(message_id, SUBJECT, "ns/r", number, at, "first", outcome, "503", status, 12.5, "HTTP 503")


def letter(message_id: str, at: int = NOON) -> DeadLetter:
    """A dead letter of a message."""
    return DeadLetter(
        "ns/r", message_id, SUBJECT, at, Reason.EXHAUSTED, "503", "t", "http://x/", 1, (), {"subject": "s"}
    )


async def take_and_delete(queue: EmbeddedQueue) -> None:
    """The queue is empty afterwards."""
    while batch := await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id=""):
        await queue.delete([message.receipt_handle for message in batch])


@pytest.mark.promise(13)
async def test_message_is_traced_from_queue_to_target(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """Unknown, pending, pending after a failure, delivered."""
    journal = EmbeddedBackend(broker).journal
    assert reader.trace("m1") is None
    await queue.send([outgoing("m1"), outgoing("m10")])
    assert reader.trace("m1") == Trace("m1", SUBJECT, State.PENDING, ())
    journal.note(attempt("m1"))
    assert list(await journal.attempts("m1")) == [attempt("m1")]
    assert reader.trace("m1") == Trace("m1", SUBJECT, State.PENDING, (attempt("m1"),))
    delivered = attempt("m1", "delivered", 2, NOON + 5)
    journal.note(delivered)
    await take_and_delete(queue)
    assert reader.trace("m1") == Trace("m1", SUBJECT, State.DELIVERED, (attempt("m1"), delivered))
    assert reader.trace("m10") is None


@pytest.mark.promise(13)
async def test_dead_letter_is_traced_until_its_replay_is_delivered(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """Dead-lettered, pending again in its replay, then delivered; a later failure counts again."""
    backend = EmbeddedBackend(broker)
    await backend.dead_letters.put(letter("m1"))
    assert reader.trace("m1") == Trace("m1", SUBJECT, State.DEAD_LETTERED, ())
    await queue.send([outgoing("m1", epoch=1)])
    found = reader.trace("m1")
    assert found is not None
    assert found.state is State.PENDING
    await take_and_delete(queue)
    backend.journal.note(attempt("m1", "delivered", 1, NOON + 10))
    await backend.journal.attempts("m1")
    found = reader.trace("m1")
    assert found is not None
    assert found.state is State.DELIVERED
    await backend.dead_letters.put(letter("m1", NOON + 20))
    found = reader.trace("m1")
    assert found is not None
    assert found.state is State.DEAD_LETTERED


@pytest.mark.promise(13)
async def test_message_of_another_sender_is_found_by_its_body(queue: EmbeddedQueue, reader: Reader) -> None:
    """Whoever puts a message on the queue by SQS may choose any deduplication id."""
    await queue.send([replace(outgoing("m1"), deduplication_id="anything")])
    await queue.send([OutgoingMessage(b'garbage with "m2" in it', "g", "other")])
    found = reader.trace("m1")
    assert found is not None
    assert found.state is State.PENDING
    assert reader.trace("m2") is None


async def test_attempts_are_told_in_order(broker: EmbeddedBroker, reader: Reader) -> None:
    """As they were made, not as they were noted."""
    journal = EmbeddedBackend(broker).journal
    for number in (2, 1, 3):
        journal.note(attempt("m1", number=number, at=NOON + number))
    journal.note(attempt("m2"))
    assert [entry.number for entry in await journal.attempts("m1")] == [1, 2, 3]
    assert [entry.number for entry in reader.attempts("m1")] == [1, 2, 3]


async def test_many_pages_are_read_without_gap_or_repeat(broker: EmbeddedBroker, reader: Reader) -> None:
    """Also where a page ends within one millisecond, and while letters are added."""
    store = EmbeddedBackend(broker).dead_letters
    total = letters.PAGE * 2 + 1
    await asyncio.gather(*(store.put(letter(f"m{n:04}", NOON + n // 300)) for n in range(total)))
    expected = [f"m{n:04}" for n in range(total)]
    seen: list[str] = []
    for found in reader.find(DeadLetterFilter()):
        if not seen:
            await store.put(letter("late", NOON + 9))
        seen.append(found.id)
    assert seen == [*expected, "late"]
    assert [found.id async for found in store.find(DeadLetterFilter(text="nowhere"))] == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (DeadLetterFilter(since=1, until=2), "sqlite_autoindex_dead_letters_1"),
        (DeadLetterFilter(subject="s", since=1), "dead_letters_by_subject"),
        (DeadLetterFilter(target="t", until=9), "dead_letters_by_target"),
        (DeadLetterFilter(error_class="404"), "dead_letters_by_error"),
        (DeadLetterFilter(error_class="4xx", text="w"), "dead_letters_by_class"),
        (DeadLetterFilter(subject="s", target="t", error_class="4xx", route="r"), "dead_letters_by_subject"),
    ],
    ids=["time", "subject", "target", "status", "class", "all"],
)
async def test_search_reads_its_index_in_order(broker: EmbeddedBroker, wanted: DeadLetterFilter, index: str) -> None:
    """No search sorts or passes over the whole table."""
    statement, values = letters._query(wanted, letters.START)
    plan = await broker.run(lambda session: session.read(f"EXPLAIN QUERY PLAN {statement}", values))
    told = " ".join(row[3] for row in plan)
    assert index in told
    assert "SEARCH" in told
    assert "TEMP B-TREE" not in told


async def test_another_process_reads_while_the_owner_works(
    broker: EmbeddedBroker, queue: EmbeddedQueue, tmp_path: Path
) -> None:
    """The owner goes on sending; the reader sees what is committed."""
    assert broker.file.is_file()
    await queue.send([outgoing("m1")])
    script = (
        "import sys\nfrom chaski_embedded.reader import open_reader\n"
        "with open_reader(sys.argv[1]) as reader:\n    print(reader.trace('m1').state.value)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "data"), stdout=subprocess.PIPE
    )
    told, _ = await child.communicate()
    assert told == b"pending\n"
    await queue.send([outgoing("m2")])


async def test_reader_refuses_what_it_does_not_know(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """No folder, a folder without data, a file of a newer release, a file that is no database."""
    await broker.close()
    empty = tmp_path / "empty"
    empty.mkdir()
    newer, blank, other = (tmp_path / name for name in ("newer", "blank", "other"))
    for folder, version in ((newer, 99), (blank, 0)):
        folder.mkdir()
        connection = schema.connect(folder / schema.FILE_NAME)
        connection.execute("CREATE TABLE t (x)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
    other.mkdir()
    (other / schema.FILE_NAME).write_text("no database at all" * 100)
    codes = {}
    for folder in (tmp_path / "absent", empty, newer, blank, other):
        with pytest.raises(BackendRejectedError) as refused:
            open_reader(folder)
        codes[folder.name] = refused.value.code
    assert codes == {
        "absent": "DataNotFound",
        "empty": "DataNotFound",
        "newer": "DataTooNew",
        "blank": "DataNotFound",
        "other": "DataUnusable",
    }


async def test_reader_cannot_write(reader: Reader) -> None:
    """It can do no harm beside the owner."""
    with pytest.raises(Exception, match="readonly"):
        reader._connection.execute("DELETE FROM dead_letters")
