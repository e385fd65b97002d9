"""Reading a data folder in another process beside its owner."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendRejectedError
from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.message.subject import first_deduplication_id, group_id, hop_deduplication_id, replay_deduplication_id
from chaski_core.ports import AttemptEntry, OutgoingMessage, Sent
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.broker.queue import EmbeddedQueue
from chaski_embedded.storage import dead_letters, schema
from chaski_embedded.storage.reader import Reader, State, Trace, open_reader
from support.dead_letters.builder import a_dead_letter

SUBJECT = "order 7 \U0001f600"
NOON = 1_800_000_000_000


@pytest.fixture
async def queue(broker: EmbeddedBroker) -> EmbeddedQueue:
    """A queue of a route."""
    return broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true"}))


@pytest.fixture
def reader(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Reader]:
    """A reader of the broker's folder."""
    assert broker.file.is_file()
    with open_reader(tmp_path / "data") as opened:
        yield opened


def outgoing(label: str, key: str = "") -> OutgoingMessage:
    """A message as sent by ingest."""
    body = write_envelope({"subject": SUBJECT, "body": {"url": "http://x/"}}, Metadata(id=label))
    return OutgoingMessage(body, group_id(SUBJECT), first_deduplication_id(key or label))


async def put(queue: EmbeddedQueue, *messages: OutgoingMessage) -> list[str]:
    """Sends messages; their identities."""
    return [sent.message_id for sent in await queue.send(messages) if isinstance(sent, Sent)]


def hopped(message: OutgoingMessage, identity: str, hop: int = 1) -> OutgoingMessage:
    """The same message on a rung, as sent by a worker."""
    return replace(message, deduplication_id=hop_deduplication_id(identity, "fast", 0, hop))


def replayed(label: str, identity: str, number: int = 1) -> OutgoingMessage:
    """A replay of a dead letter."""
    metadata = Metadata(id=label, epoch=number, replay_of=identity)
    body = write_envelope({"subject": SUBJECT, "body": {"url": "http://x/"}}, metadata)
    return OutgoingMessage(body, group_id(SUBJECT), replay_deduplication_id(identity, number))


def attempt(
    message_id: str, outcome: str = "failed", number: int = 1, at: int = NOON, label: str = "order-1"
) -> AttemptEntry:
    """An attempt as recorded by the worker."""
    status = 204 if outcome == "delivered" else 503
    return AttemptEntry(
        message_id, label, SUBJECT, "ns/r", number, at, "first", outcome, "503", status, 12.5, "HTTP 503"
    )


def letter(message_id: str, at: int = NOON, label: str = "order-1", replay_of: str | None = None) -> DeadLetter:
    """A dead letter of a message."""
    document = write_envelope({"subject": SUBJECT, "body": {}}, Metadata(id=label, replay_of=replay_of))
    envelope = json_codec.loads(document)
    return a_dead_letter(
        message_id, id=label, subject=SUBJECT, dead_lettered_at=at, error_class="503", envelope=envelope
    )


async def noted(broker: EmbeddedBroker, *entries: AttemptEntry) -> None:
    """Stores attempts."""
    journal = EmbeddedBackend(broker).journal
    for entry in entries:
        journal.note(entry)
    await journal.attempts("")


def states(traces: Sequence[Trace]) -> list[tuple[str, str, str | None]]:
    """Identity, state and original of each trace."""
    return [(trace.message_id, trace.state.value, trace.replay_of) for trace in traces]


def counts(reader: Reader) -> tuple[int, int, int, int, int]:
    """Accepted, delivered, dead-lettered, pending, unaccounted."""
    found = reader.ledger()
    return found.accepted, found.delivered, found.dead_lettered, found.pending, found.unaccounted


async def take_and_delete(queue: EmbeddedQueue) -> None:
    """Receives and deletes all messages."""
    while batch := await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id=""):
        await queue.delete([message.receipt_handle for message in batch])


@pytest.mark.promise(13)
@pytest.mark.parametrize("by", ["identity", "label"])
async def test_message_is_traced_from_queue_to_target(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader, by: str
) -> None:
    """Unknown, pending, pending after a failure and on a rung, delivered; by identity and by label."""
    assert reader.traces("m1") == []
    identity, _ = await put(queue, outgoing("m1"), outgoing("m10"))
    asked = identity if by == "identity" else "m1"
    expected = Trace(identity, "m1", SUBJECT, State.PENDING, ())
    assert reader.traces(asked) == [expected]
    failed = attempt(identity, label="m1")
    await noted(broker, failed)
    assert reader.traces(asked) == [replace(expected, attempts=(failed,))]
    await take_and_delete(queue)
    await put(queue, hopped(outgoing("m1"), identity))
    assert reader.traces(asked) == [replace(expected, attempts=(failed,))]
    delivered = attempt(identity, "delivered", 2, NOON + 5, "m1")
    await noted(broker, delivered)
    await take_and_delete(queue)
    ended = replace(expected, state=State.DELIVERED, attempts=(failed, delivered), route="ns/r")
    assert reader.traces(asked) == [ended]
    assert reader.traces("m10") == []


@pytest.mark.promise(2)
async def test_message_discarded_without_a_dead_letter_is_accounted_for(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """By its attempt, once it is on no queue any more."""
    identity, _ = await put(queue, outgoing("m1"), outgoing("m2"))
    discarded = attempt(identity, "discarded", 1, NOON, "m1")
    await noted(broker, discarded)
    found = reader.ledger()
    assert (found.pending, found.discarded, found.unaccounted) == (2, 0, 0)
    await take_and_delete(queue)
    found = reader.ledger()
    assert (found.accepted, found.discarded, found.pending, found.unaccounted) == (2, 1, 0, 1)
    assert [(each.state, each.attempts) for each in reader.traces("m1")] == [(State.DISCARDED, (discarded,))]


@pytest.mark.promise(13)
async def test_messages_that_share_a_label_are_traced_and_counted_apart(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """One dead letter, one delivered, one waiting: each with its own attempts, and the ledger is balanced."""
    first, second, third = await put(queue, *(outgoing("order-1", key) for key in "abc"))
    await noted(broker, attempt(first), attempt(second, "delivered", at=NOON + 1))
    await EmbeddedBackend(broker).dead_letters.put(letter(first, NOON + 2))
    batch = await queue.receive(max_messages=2, wait_seconds=0, visibility_seconds=30, attempt_id="")
    await queue.delete([message.receipt_handle for message in batch])
    found = reader.traces("order-1")
    assert sorted(states(found)) == sorted(
        [(first, "dead-lettered", None), (second, "delivered", None), (third, "pending", None)]
    )
    assert [trace.attempts for trace in found if trace.message_id == second] == [
        (attempt(second, "delivered", at=NOON + 1),)
    ]
    assert states(reader.traces(second)) == [(second, "delivered", None)]
    assert counts(reader) == (3, 1, 1, 1, 0)


@pytest.mark.promise(13)
async def test_replays_are_found_with_the_message_and_count_for_it(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """A replay that waits, fails again, is replayed and delivered counts as one accepted message throughout."""
    store = EmbeddedBackend(broker).dead_letters
    (root,) = await put(queue, outgoing("order-1"))
    await take_and_delete(queue)
    await store.put(letter(root))
    assert counts(reader) == (1, 0, 1, 0, 0)
    (replay,) = await put(queue, replayed("order-1", root))
    expected = [(root, "dead-lettered", None), (replay, "pending", root)]
    assert sorted(states(reader.traces(root))) == sorted(expected)
    assert states(reader.traces(root)) == states(reader.traces("order-1"))
    assert counts(reader) == (1, 0, 0, 1, 0)
    await take_and_delete(queue)
    await store.put(letter(replay, NOON + 10, replay_of=root))
    assert counts(reader) == (1, 0, 1, 0, 0)
    (again,) = await put(queue, replayed("order-1", replay))
    await take_and_delete(queue)
    await put(queue, hopped(replayed("order-1", root), again))
    assert counts(reader) == (1, 0, 0, 1, 0)
    await take_and_delete(queue)
    await noted(broker, attempt(again, "delivered", at=NOON + 20))
    assert counts(reader) == (1, 1, 0, 0, 0)
    assert sorted(states(reader.traces(root))) == sorted(
        [(root, "dead-lettered", None), (replay, "dead-lettered", root), (again, "delivered", root)]
    )
    assert states(reader.traces(again)) == [(again, "delivered", root)]


@pytest.mark.promise(13)
async def test_message_of_another_sender_is_found_by_its_body(queue: EmbeddedQueue, reader: Reader) -> None:
    """A client of the SQS API may choose any deduplication id."""
    (identity,) = await put(queue, replace(outgoing("m1"), deduplication_id="anything"))
    await queue.send([OutgoingMessage(b'garbage with "m2" in it', "g", "other")])
    assert states(reader.traces("m1")) == [(identity, "pending", None)]
    assert reader.traces("m2") == []


async def test_rungs_with_special_names_are_not_mistaken(
    broker: EmbeddedBroker, queue: EmbeddedQueue, reader: Reader
) -> None:
    """`replay` and `60` are valid names of rungs."""
    await broker.run(lambda work: work.sql().execute("INSERT INTO rungs VALUES ('ns/r', '60', 60, 'u')"))
    first, second = await put(queue, outgoing("m1"), outgoing("m2"))
    await take_and_delete(queue)
    for name, identity in (("60", first), ("replay", second)):
        hop = replace(outgoing("m"), deduplication_id=hop_deduplication_id(identity, name, 0, 1))
        await put(queue, hop)
        assert states(reader.traces(identity)) == [(identity, "pending", None)]
    assert counts(reader) == (2, 0, 0, 2, 0)


async def test_attempts_are_in_order(broker: EmbeddedBroker, reader: Reader) -> None:
    """In the order of the attempts, not of their storage."""
    journal = EmbeddedBackend(broker).journal
    for number in (2, 1, 3):
        journal.note(attempt("m1", number=number, at=NOON + number))
    journal.note(attempt("m2"))
    assert [entry.number for entry in await journal.attempts("m1")] == [1, 2, 3]
    assert [entry.number for entry in reader.attempts("m1")] == [1, 2, 3]


async def test_many_pages_are_read_without_gap_or_repeat(broker: EmbeddedBroker, reader: Reader) -> None:
    """Also where a page ends within one millisecond, and while dead letters are added."""
    store = EmbeddedBackend(broker).dead_letters
    total = dead_letters.PAGE * 2 + 1
    await asyncio.gather(*(store.put(letter(f"m{n:04}", NOON + n // 300)) for n in range(total)))
    expected = [f"m{n:04}" for n in range(total)]
    seen: list[str] = []
    for found in reader.find(DeadLetterFilter()):
        if not seen:
            await store.put(letter("late", NOON + 9))
        seen.append(found.message_id)
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
@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
async def test_search_reads_its_index_in_order(
    broker: EmbeddedBroker, wanted: DeadLetterFilter, index: str, newest_first: bool
) -> None:
    """No search sorts or scans the whole table."""
    after = dead_letters.END if newest_first else dead_letters.START
    statement, values = dead_letters._query(wanted, after, newest_first=newest_first)
    plan = await broker.run(lambda work: work.read(f"EXPLAIN QUERY PLAN {statement}", values))
    details = " ".join(row[3] for row in plan)
    assert index in details
    assert "SEARCH" in details
    assert "TEMP B-TREE" not in details


async def test_another_process_reads_while_the_owner_works(
    broker: EmbeddedBroker, queue: EmbeddedQueue, tmp_path: Path
) -> None:
    """The owner continues to send; the reader sees committed data."""
    assert broker.file.is_file()
    await queue.send([outgoing("m1")])
    script = (
        "import sys\nfrom chaski_embedded.storage.reader import open_reader\n"
        "with open_reader(sys.argv[1]) as reader:\n    print(reader.traces('m1')[0].state.value)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "data"), stdout=subprocess.PIPE
    )
    details, _ = await child.communicate()
    assert details == b"pending\n"
    await queue.send([outgoing("m2")])


async def test_reader_refuses_unknown_folders_and_files(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """No folder, a folder without data, a file of a newer release, a file that is not a database."""
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
    """It can't change the owner's data."""
    with pytest.raises(Exception, match="readonly"):
        reader._connection.execute("DELETE FROM dead_letters")
