"""The accounts of a data folder: every message that ingest put here is delivered, a dead letter, or pending.

How many were accepted is counted in the transaction that keeps them. The other side are ids, found independently: on the
queues, among the attempts (an attempt is noted no later than its message is deleted), among the dead letters. So the two
sides agree over any crash, as long as no record was dropped: by its retention, or by `discard`.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from chaski_core.subject import deduplication_id

FIRST_HOP = deduplication_id("", 0, "first", 0)  # how the deduplication id ends that ingest gives a message


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of the messages of a folder."""

    accepted: int
    delivered: int
    dead_lettered: int
    pending: int
    dropped: int  # records of attempts and dead letters that are gone: retention, discard

    @property
    def unaccounted(self) -> int:
        """Messages that were accepted and are nowhere; below 0: others than ingest sent messages, too."""
        return self.accepted - self.delivered - self.dead_lettered - self.pending

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing that records which were dropped can't explain."""
        return 0 <= self.unaccounted <= self.dropped

    def as_json(self) -> dict[str, Any]:
        """`{accepted, delivered, deadLettered, pending, unaccounted, dropped, balanced}`."""
        return {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "deadLettered": self.dead_lettered,
            "pending": self.pending,
            "unaccounted": self.unaccounted,
            "dropped": self.dropped,
            "balanced": self.balanced,
        }


def note_dropped(connection: sqlite3.Connection, records: int) -> None:
    """Counts records that are no longer there to account for a message."""
    connection.execute("UPDATE state SET dropped = dropped + ?", (records,))


def read_ledger(connection: sqlite3.Connection) -> Ledger:
    """The accounts, of one state of the file. A message counts once: where it is now goes before where it was."""
    row = connection.execute(
        """
        WITH pending AS (
          SELECT DISTINCT substr(dedup_id, 1, instr(dedup_id, ':') - 1) AS id FROM messages
          WHERE gone = 0 AND dedup_id LIKE '_%:%:%:%'
        ), delivered AS (
          SELECT DISTINCT message_id AS id FROM journal WHERE outcome = 'delivered'
          EXCEPT SELECT id FROM pending
        ), dead AS (
          SELECT DISTINCT id FROM dead_letters
          EXCEPT SELECT id FROM pending
          EXCEPT SELECT id FROM delivered
        )
        SELECT accepted, (SELECT count(*) FROM delivered), (SELECT count(*) FROM dead), (SELECT count(*) FROM pending),
          dropped FROM state
        """
    ).fetchone()
    return Ledger(*row)
