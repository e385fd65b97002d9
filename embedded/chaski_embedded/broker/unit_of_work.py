"""The file and its index in memory, as seen by the writer's thread within one group of commands.

An action raises a `ChaskiError` only before it has changed anything; after any other exception the writer discards the
unit of work and reads a new one from the file.
"""

import bisect
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chaski_core.errors import BackendRejectedError
from chaski_core.message.subject import is_accepted, replayed_message
from chaski_embedded.fifo.deduplication import WINDOW_MS
from chaski_embedded.fifo.model import InFlight, Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.queue_attributes import DEFAULTS, blocks_sends
from chaski_embedded.fifo.queue_time import QueueTime
from chaski_embedded.fifo.sequence import first_sequence_at, message_id, next_sequence
from chaski_embedded.fifo.state import GroupsOf
from chaski_embedded.storage.statements import for_keys, insert_rows, read_by_keys, update_rows


@dataclass(eq=False, slots=True)
class HostedQueue:
    """A queue and its index in memory."""

    id: int
    name: str
    settings: Mapping[str, str]  # the SQS attributes that were set
    tags: Mapping[str, str]
    dedup_per_group: bool
    created_at: int  # epoch milliseconds
    modified_at: int
    purged_at: int
    keeps_messages: bool  # a route's queue: a message stays until it is deleted, despite MessageRetentionPeriod
    groups_of: GroupsOf = field(repr=False)  # of stored messages
    fifo: FifoQueue = field(init=False, repr=False)
    max_message_bytes: int = field(init=False)
    sends_blocked: bool = field(init=False)  # its policy denies SendMessage

    def __post_init__(self) -> None:
        self.forget_messages()
        self.read_settings()

    def forget_messages(self) -> None:
        """Makes the index empty."""
        self.fifo = FifoQueue(self.rules(), self.groups_of)

    def rules(self) -> Settings:
        """The settings of the FIFO rules."""
        return Settings(
            delay_ms=int(self.setting("DelaySeconds")) * 1000,
            retention_ms=None if self.keeps_messages else int(self.setting("MessageRetentionPeriod")) * 1000,
            dedup_per_group=self.dedup_per_group,
        )

    def read_settings(self) -> None:
        """Updates the fields derived from settings."""
        self.max_message_bytes = int(self.setting("MaximumMessageSize"))
        self.sends_blocked = blocks_sends(self.settings)

    def setting(self, name: str) -> str:
        """An attribute that was set, or its default."""
        return self.settings.get(name, DEFAULTS[name])


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """The stored fields of a message that the FIFO's index does not have."""

    group_id: str
    dedup_id: str
    sent_at: int  # epoch milliseconds by the wall clock
    body: bytes
    attributes: bytes | None


class UnitOfWork:
    """Gives actions access to file and index, and collects their changes until `commit`."""

    def __init__(self, connection: sqlite3.Connection, time: QueueTime) -> None:
        self._connection = connection
        self._time = time
        self.salt: bytes
        self.salt, self._last_sequence = connection.execute("SELECT salt, last_sequence FROM state").fetchone()
        self.now = time.now()
        self.wall = time.wall()
        self.queues: dict[str, HostedQueue] = {}
        self.touched: dict[str, HostedQueue | None] = {}  # queues that an action used; None: deleted
        self.deleted: set[str] = set()  # by the group: MessageIds of messages, and their identities on rungs
        self._record_deletes = False
        self._accepted = 0  # messages of ingest since the last commit
        self._sent: dict[int, tuple[int, StoredMessage]] = {}  # since the last flush: sequence -> (queue, message)
        self._load()

    # ---- for actions

    def queue(self, name: str) -> HostedQueue:
        """The queue with a name. Raises BackendRejectedError (QueueDoesNotExist)."""
        queue = self.queues.get(name)
        if queue is None:
            raise BackendRejectedError("QueueDoesNotExist", "The specified queue does not exist.")
        self.touched[name] = queue
        return queue

    def send(self, queue: HostedQueue, message: StoredMessage) -> int:
        """Adds a message to a queue; its sequence number, or that of the message which it duplicates."""
        sequence = next_sequence(self._last_sequence, self.now)
        self._sent[sequence] = (queue.id, message)  # before the index asks for its group
        accepted = queue.fifo.send(sequence, message.group_id, message.dedup_id, self.now)
        if accepted == sequence:
            self._last_sequence = sequence
            self._accepted += is_accepted(message.dedup_id)
        else:
            del self._sent[sequence]
        return accepted

    def record_delete(self, sequence: int) -> None:
        """Records that a message was deleted by its receiver."""
        if self._record_deletes:
            self.deleted.add(message_id(self.salt, sequence))
            for (dedup_id,) in self.read("SELECT dedup_id FROM messages WHERE sequence = ?", (sequence,)):
                self.deleted.add(dedup_id.partition(":")[0])  # of a hop: the identity, see `chaski_core.subject`

    def messages(self, sequences: Sequence[int]) -> dict[int, StoredMessage]:
        """The stored fields of existing messages."""
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

    def groups_of(self, sequences: Sequence[int]) -> list[str]:
        """The groups of existing messages."""
        found = {sequence: self._sent[sequence][1].group_id for sequence in sequences if sequence in self._sent}
        if len(found) < len(sequences):
            missing = [sequence for sequence in sequences if sequence not in found]
            found.update(
                read_by_keys(self._connection, "SELECT sequence, group_id FROM messages WHERE sequence IN {}", missing)
            )
        return [found[sequence] for sequence in sequences]

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for reading; messages sent by earlier actions of the group may not be written yet."""
        return self._connection

    def read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of a query on `connection`."""
        return self._connection.execute(statement, values).fetchall()

    def sql(self) -> sqlite3.Connection:
        """The connection within the group's transaction, for changes of other tables than those of messages."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def flushed_sql(self) -> sqlite3.Connection:
        """The connection within the group's transaction, after writing all changes of earlier actions."""
        connection = self.sql()
        self._flush(connection)
        return connection

    def may_expire(self) -> bool:
        """Whether stored data may expire by its age. A jump of the wall clock that is detected now is stored durably."""
        if self._time.expiry.detect_jump(self.now, self.wall):
            self.sql()
        return not self._time.expiry.remaining(self.now)

    def received_ids(self) -> set[str]:
        """MessageIds of the messages on queues that were received at least once."""
        return {message_id(self.salt, sequence) for queue in self.queues.values() for sequence in queue.fifo.received()}

    # ---- for the writer

    def begin(self, *, record_deletes: bool = False) -> None:
        """Starts a group, whose actions all have the same time. `record_deletes`: `deleted` is filled."""
        self.now, self.wall = self._time.now(), self._time.wall()
        self.touched = {}
        self.deleted = set()
        self._record_deletes = record_deletes

    def commit(self) -> None:
        """Makes the changes of the group durable, if there are any."""
        changed = self._sent or any(
            queue and (queue.fifo.changed or queue.fifo.deleted) for queue in self.touched.values()
        )
        if not changed and not self._connection.in_transaction:
            return
        connection = self.flushed_sql()
        at = self._time.clock_state(self.now, self.wall)
        connection.execute(
            "UPDATE state SET last_sequence = ?, accepted = accepted + ?, queue_time = ?, wall = ?, monotonic = ?, boot = ?, "
            "hold_ms = ?",
            (self._last_sequence, self._accepted, at.queue_time, at.wall, at.monotonic, at.boot, at.pause_ms),
        )
        connection.execute("COMMIT")
        self._accepted = 0

    # ---- inside

    def _flush(self, connection: sqlite3.Connection) -> None:
        if self._sent:
            sent = list(self._sent.items())
            insert_rows(
                connection,
                "INSERT INTO messages (sequence, queue, group_id, dedup_id, sent_at)",
                [
                    (sequence, queue, message.group_id, message.dedup_id, message.sent_at)
                    for sequence, (queue, message) in sent
                ],
            )
            insert_rows(
                connection,
                "INSERT INTO bodies (sequence, body, attributes)",
                [(sequence, message.body, message.attributes) for sequence, (_, message) in sent],
            )
            replays = [
                (sequence, source)
                for sequence, (_, message) in sent
                if (source := replayed_message(message.dedup_id)) is not None
            ]
            insert_rows(connection, "INSERT INTO replays (sequence, source)", replays)
            self._sent = {}
        for queue in self.touched.values():
            if queue is not None:
                self._flush_index(connection, queue.fifo)

    def _flush_index(self, connection: sqlite3.Connection, fifo: FifoQueue) -> None:
        if fifo.changed:
            update_rows(
                connection,
                "UPDATE messages SET receives = column2, first_at = column3, since = column4, until = column5 "
                "FROM ({}) WHERE sequence = column1",
                [
                    (sequence, record.receives, record.first_at, record.since, record.until)
                    for sequence in fifo.changed
                    if (record := fifo.record(sequence)) is not None
                ],
            )
            fifo.changed.clear()
        if fifo.deleted:
            young = first_sequence_at(self.now - WINDOW_MS)
            deleted = sorted(fifo.deleted)
            oldest_young = bisect.bisect_left(deleted, young)
            for_keys(connection, "DELETE FROM bodies WHERE sequence IN {}", deleted)
            for_keys(connection, "UPDATE messages SET gone = 1 WHERE sequence IN {}", deleted[oldest_young:])
            for_keys(connection, "DELETE FROM messages WHERE sequence IN {}", deleted[:oldest_young])
            fifo.deleted.clear()

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
                self.groups_of,
            )
        self._load_messages()

    def _load_messages(self) -> None:
        by_id = {queue.id: queue.fifo for queue in self.queues.values()}
        young = first_sequence_at(self.now - WINDOW_MS)
        for sequence, queue, group, dedup, gone, *record in self._connection.execute(
            "SELECT sequence, queue, group_id, dedup_id, gone, receives, first_at, since, until FROM messages "
            "WHERE receives > 0 OR sequence >= ? ORDER BY sequence",
            (young,),
        ):
            if sequence >= young:
                by_id[queue].remember(sequence, group, dedup)
            if record[0] and not gone:
                by_id[queue].restore_received(sequence, group, InFlight(group, *record))
        restore = {number: fifo.restore for number, fifo in by_id.items()}
        for sequence, queue in self._connection.execute(
            "SELECT sequence, queue FROM messages WHERE receives = 0 AND gone = 0 ORDER BY sequence"
        ):
            restore[queue](sequence)
