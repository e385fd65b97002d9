"""The ledger of a data folder: every message that ingest accepted is delivered, a dead letter, discarded, or pending.

Accepted messages are counted in the transaction that stores them. The other side is identities, found independently: on
the queues, in the journal (an attempt is stored no later than its message is deleted), among the dead letters. So both
sides agree after any crash, as long as no record was dropped by its retention or by `discard`.

A replay is a message of its own that ingest did not accept. It counts for its original, which counts once: as pending
while it or a replay of it is on a queue, else as delivered if any of them was, else as a dead letter, else as discarded.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from chaski_embedded.storage.lineage import Lineage

# Deduplication ids of messages that Chaski sends: from ingest, to rungs (also by releases before identities), replays.
# Messages of other senders have other ids, and count from their first rung on.
_OURS = "(dedup_id LIKE '_%:first' OR dedup_id LIKE '_%:replay:_%' OR dedup_id LIKE '_%:_%:_%:_%')"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Numbers of messages of a folder by outcome."""

    accepted: int
    delivered: int
    dead_lettered: int
    discarded: int  # deleted without a dead letter, by an outcome of the route
    pending: int
    dropped: int  # records of attempts and dead letters that were deleted: by retention, by discard

    @property
    def unaccounted(self) -> int:
        """Accepted messages that were not found; below 0: other senders than ingest sent messages, too."""
        return self.accepted - self.delivered - self.dead_lettered - self.discarded - self.pending

    @property
    def balanced(self) -> bool:
        """Whether dropped records can explain all missing messages."""
        return 0 <= self.unaccounted <= self.dropped

    def as_json(self) -> dict[str, Any]:
        """`{accepted, delivered, deadLettered, discarded, pending, unaccounted, dropped, balanced}`."""
        return {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "deadLettered": self.dead_lettered,
            "discarded": self.discarded,
            "pending": self.pending,
            "unaccounted": self.unaccounted,
            "dropped": self.dropped,
            "balanced": self.balanced,
        }


def count_dropped(connection: sqlite3.Connection, records: int) -> None:
    """Counts deleted records that accounted for messages."""
    connection.execute("UPDATE state SET dropped = dropped + ?", (records,))


def read_ledger(connection: sqlite3.Connection) -> Ledger:
    """The ledger, within one read transaction."""
    connection.execute("BEGIN")
    try:
        return _read(connection)
    finally:
        connection.execute("COMMIT")


def _read(connection: sqlite3.Connection) -> Ledger:
    lineage = Lineage(connection)

    def root_on_queue(sequence: int, dedup_id: str) -> str:
        return lineage.root(lineage.identity(sequence, dedup_id))

    connection.create_function("root", 1, lineage.root, deterministic=True)
    connection.create_function("root_on_queue", 2, root_on_queue, deterministic=True)
    connection.create_function("label_before", 1, lineage.label_before, deterministic=True)
    row = connection.execute(
        f"""
        WITH pending AS (
          SELECT DISTINCT root_on_queue(sequence, dedup_id) AS id FROM messages WHERE gone = 0 AND {_OURS}
        ), waiting_before AS (  -- of these, attempts and dead letters of before have the producer's id
          SELECT label_before(dedup_id) AS id FROM messages WHERE gone = 0 AND dedup_id LIKE '_%:_%:_%:_%'
        ), delivered AS (
          SELECT DISTINCT root(message_id) AS id FROM journal WHERE outcome = 'delivered'
          EXCEPT SELECT id FROM pending EXCEPT SELECT id FROM waiting_before
        ), dead AS (
          SELECT DISTINCT coalesce(replay_of, root(message_id)) AS id FROM dead_letters
          EXCEPT SELECT id FROM pending EXCEPT SELECT id FROM delivered EXCEPT SELECT id FROM waiting_before
        ), discarded AS (
          SELECT DISTINCT root(message_id) AS id FROM journal WHERE outcome = 'discarded'
          EXCEPT SELECT id FROM pending EXCEPT SELECT id FROM delivered EXCEPT SELECT id FROM dead
        )
        SELECT accepted, (SELECT count(*) FROM delivered), (SELECT count(*) FROM dead),
          (SELECT count(*) FROM discarded), (SELECT count(*) FROM pending), dropped FROM state
        """  # noqa: S608 - constants
    ).fetchone()
    return Ledger(*row)
