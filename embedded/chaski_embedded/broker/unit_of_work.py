"""The file and the index of it in memory, as the engine's thread sees them, within one group of commands.

An action on a session raises a `ChaskiError` only before it has changed anything; any other exception makes the
engine throw the session away and read it anew from the file.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_core.message.subject import is_accepted, replayed_message
from chaski_embedded.broker.queue_time import QueueTime
from chaski_embedded.fifo.deduplication import WINDOW_MS
from chaski_embedded.fifo.model import InFlight, Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.sequence import first_sequence_at, message_id, next_sequence
from chaski_embedded.sqs_api.queues import DEFAULTS, denies_sending


@dataclass(eq=False, slots=True)
class HostedQueue:
    """A queue and its index."""

    id: int
    name: str
    settings: Mapping[str, str]  # the SQS attributes that were set
    tags: Mapping[str, str]
    dedup_per_group: bool
    created_at: int  # epoch milliseconds
    modified_at: int
    purged_at: int
    keeps: bool  # a route's: a message stays until it is deleted, whatever MessageRetentionPeriod says
    fifo: FifoQueue = field(init=False, repr=False)
    max_message_bytes: int = field(init=False)
    fenced: bool = field(init=False)  # its policy denies sending

    def __post_init__(self) -> None:
        self.fifo = FifoQueue(self.rules())
        self.read_settings()

    def rules(self) -> Settings:
        """What the settings mean to the FIFO rules."""
        return Settings(
            delay_ms=int(self.setting("DelaySeconds")) * 1000,
            retention_ms=None if self.keeps else int(self.setting("MessageRetentionPeriod")) * 1000,
            dedup_per_group=self.dedup_per_group,
        )

    def read_settings(self) -> None:
        """Takes over what sending needs to know of changed settings."""
        self.max_message_bytes = int(self.setting("MaximumMessageSize"))
        self.fenced = denies_sending(self.settings)

    def setting(self, name: str) -> str:
        """An attribute that was set, or its default."""
        return self.settings.get(name, DEFAULTS[name])


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """What is kept of a message beside the FIFO's index."""

    group_id: str
    dedup_id: str
    sent_at: int  # epoch milliseconds by the wall clock
    body: bytes
    attributes: bytes | None


class UnitOfWork:
    """Gives actions the index, and collects what they change until `commit`."""

    def __init__(self, connection: sqlite3.Connection, time: QueueTime) -> None:
        self._connection = connection
        self._time = time
        self.salt: bytes
        self.salt, self._last_sequence = connection.execute("SELECT salt, last_sequence FROM state").fetchone()
        self.now = time.now()
        self.wall = time.wall()
        self.queues: dict[str, HostedQueue] = {}
        self.touched: dict[str, HostedQueue | None] = {}  # queues that an action looked at; None: deleted
        self.deleted: set[str] = set()  # by the group: ids of its messages, and their identities on rungs
        self._with_late_notes = False
        self._accepted = 0  # messages of ingest since the last commit
        self._sent: dict[int, tuple[int, StoredMessage]] = {}  # since the last flush: sequence -> (queue, message)
        self._load()

    # ---- for actions

    def queue(self, name: str) -> HostedQueue:
        """The queue of that name. Raises BackendRejectedError (QueueDoesNotExist)."""
        queue = self.queues.get(name)
        if queue is None:
            raise BackendRejectedError("QueueDoesNotExist", "The specified queue does not exist.")
        self.touched[name] = queue
        return queue

    def send(self, queue: HostedQueue, message: StoredMessage) -> int:
        """Puts a message on a queue; the sequence number that it, or the one that it repeats, has there."""
        sequence = next_sequence(self._last_sequence, self.now)
        claimed = queue.fifo.send(sequence, message.group_id, message.dedup_id, self.now)
        if claimed == sequence:
            self._last_sequence = sequence
            self._sent[sequence] = (queue.id, message)
            self._accepted += is_accepted(message.dedup_id)
        return claimed

    def note_deleted(self, sequence: int) -> None:
        """A message was deleted by its receiver."""
        if self._with_late_notes:
            self.deleted.add(message_id(self.salt, sequence))
            for (dedup_id,) in self.read("SELECT dedup_id FROM messages WHERE sequence = ?", (sequence,)):
                self.deleted.add(dedup_id.partition(":")[0])  # of a hop: the identity, see `chaski_core.subject`

    def messages(self, sequences: Sequence[int]) -> dict[int, StoredMessage]:
        """What is stored of messages that are not gone."""
        found = {sequence: self._sent[sequence][1] for sequence in sequences if sequence in self._sent}
        missing = [sequence for sequence in sequences if sequence not in found]
        if missing:
            places = ",".join("?" * len(missing))
            rows = self._connection.execute(
                "SELECT sequence, group_id, dedup_id, sent_at, body, attributes FROM messages JOIN bodies "  # noqa: S608 - places are question marks
                f"USING (sequence) WHERE sequence IN ({places})",
                missing,
            )
            found.update((row[0], StoredMessage(*row[1:])) for row in rows)
        return found

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for reading what is no message; messages sent by the actions before may not be in it yet."""
        return self._connection

    def read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of a query, as `connection` has them."""
        return self._connection.execute(statement, values).fetchall()

    def sql(self) -> sqlite3.Connection:
        """The connection, within the group's transaction, for what does not touch messages."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def settled_sql(self) -> sqlite3.Connection:
        """As `sql`, with all that the actions before changed written to it."""
        connection = self.sql()
        self._flush(connection)
        return connection

    def may_expire(self) -> bool:
        """Whether what is stored may be dropped by its age. A jump of the wall clock that shows only now is kept durably."""
        if self._time.expiry.notice(self.now, self.wall):
            self.sql()
        return not self._time.expiry.left(self.now)

    def received_ids(self) -> set[str]:
        """Ids of the messages on queues that were received at least once."""
        return {message_id(self.salt, sequence) for queue in self.queues.values() for sequence in queue.fifo.received()}

    # ---- for the engine

    def begin(self, *, with_late_notes: bool = False) -> None:
        """Starts a group: its actions all happen at one time. With late notes it collects what it deletes."""
        self.now, self.wall = self._time.now(), self._time.wall()
        self.touched = {}
        self.deleted = set()
        self._with_late_notes = with_late_notes

    def commit(self) -> None:
        """Makes durable what the group changed, if it changed anything."""
        changed = self._sent or any(
            queue and (queue.fifo.changed or queue.fifo.gone) for queue in self.touched.values()
        )
        if not changed and not self._connection.in_transaction:
            return
        connection = self.settled_sql()
        at = self._time.reached(self.now, self.wall)
        connection.execute(
            "UPDATE state SET last_sequence = ?, accepted = accepted + ?, queue_time = ?, wall = ?, monotonic = ?, boot = ?, "
            "hold_ms = ?",
            (self._last_sequence, self._accepted, at.queue_time, at.wall, at.monotonic, at.boot, at.hold_ms),
        )
        connection.execute("COMMIT")
        self._accepted = 0

    # ---- inside

    def _flush(self, connection: sqlite3.Connection) -> None:
        if self._sent:
            connection.executemany(
                "INSERT INTO messages (sequence, queue, group_id, dedup_id, sent_at) VALUES (?, ?, ?, ?, ?)",
                [
                    (sequence, queue, message.group_id, message.dedup_id, message.sent_at)
                    for sequence, (queue, message) in self._sent.items()
                ],
            )
            connection.executemany(
                "INSERT INTO bodies (sequence, body, attributes) VALUES (?, ?, ?)",
                [(sequence, message.body, message.attributes) for sequence, (_, message) in self._sent.items()],
            )
            replays = [
                (sequence, source)
                for sequence, (_, message) in self._sent.items()
                if (source := replayed_message(message.dedup_id)) is not None
            ]
            if replays:
                connection.executemany("INSERT INTO replays VALUES (?, ?)", replays)
            self._sent = {}
        for queue in self.touched.values():
            if queue is not None:
                self._flush_index(connection, queue.fifo)

    def _flush_index(self, connection: sqlite3.Connection, fifo: FifoQueue) -> None:
        if fifo.changed:
            connection.executemany(
                "UPDATE messages SET receives = ?, first_at = ?, since = ?, until = ? WHERE sequence = ?",
                _record_rows(fifo),
            )
        if fifo.gone:
            young = first_sequence_at(self.now - WINDOW_MS)
            connection.executemany("DELETE FROM bodies WHERE sequence = ?", [(each,) for each in fifo.gone])
            connection.executemany(
                "UPDATE messages SET gone = 1 WHERE sequence = ?", [(each,) for each in fifo.gone if each >= young]
            )
            connection.executemany(
                "DELETE FROM messages WHERE sequence = ?", [(each,) for each in fifo.gone if each < young]
            )
        fifo.changed.clear()
        fifo.gone.clear()

    def _load(self) -> None:
        rows = self._connection.execute(
            "SELECT id, name, settings, tags, dedup_per_group, keeps, created_at, modified_at, purged_at FROM queues"
        )
        for number, name, settings, tags, per_group, keeps, created_at, modified_at, purged_at in rows.fetchall():
            self.queues[name] = HostedQueue(
                number,
                name,
                orjson.loads(settings),
                orjson.loads(tags),
                bool(per_group),
                created_at,
                modified_at,
                purged_at,
                bool(keeps),
            )
        by_id = {queue.id: queue.fifo for queue in self.queues.values()}
        young = first_sequence_at(self.now - WINDOW_MS)
        for sequence, queue, group, dedup, gone, *record in self._connection.execute(
            "SELECT sequence, queue, group_id, dedup_id, gone, receives, first_at, since, until FROM messages "
            "ORDER BY sequence"
        ):
            fifo = by_id[queue]
            if sequence >= young:
                fifo.remember(sequence, group, dedup)
            if not gone:
                fifo.restore(sequence, group, InFlight(group, *record) if record[0] else None)


def _record_rows(fifo: FifoQueue) -> Iterable[tuple[int, int, int, int, int]]:
    for sequence in fifo.changed:
        record = fifo.record(sequence)
        if record is not None:
            yield record.receives, record.first_at, record.since, record.until, sequence
