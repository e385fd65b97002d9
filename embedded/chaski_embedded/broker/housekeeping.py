"""Deletes expired messages, dead letters, records and journal rows, in small steps between other commands."""

from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.fifo.deduplication import WINDOW_MS
from chaski_embedded.fifo.sequence import first_sequence_at
from chaski_embedded.storage import ledger

PAUSE_SECONDS = 10.0
STEP_PAUSE_SECONDS = 0.02
JOURNAL_RETENTION_MS = 1_209_600_000  # 14 days: the retention of a queue
RECORD_RENEWAL_MS = 86_400_000  # extension of an old record whose message still exists
NEVER_MS = -(2**63)  # before all times
JOURNAL_MAX_ROWS = 2_000_000  # some 400 MB; the oldest are deleted first
_STEP = 500  # rows


class Cursor:
    """The progress of housekeeping. `step` runs on the writer's thread."""

    def __init__(self, *, journal_rows: int = JOURNAL_MAX_ROWS) -> None:
        self._journal_rows = journal_rows
        self._passed = 0  # sequence number up to which the rows of deleted messages are deleted

    def step(self, work: UnitOfWork) -> bool:
        """Deletes some expired rows; returns whether there may be more."""
        more = [queue.fifo.expire(_STEP, work.now) for queue in map(work.queue, list(work.queues))]
        more.append(self._drop_dedup(work))
        may_expire = work.may_expire()
        if may_expire:
            more += [_drop_dead_letters(work), _drop_records(work)]
            more += [_drop(work, table, "expires_at <= ?", work.wall) for table in ("died", "control_records")]
        more.append(_drop_journal(work, self._journal_rows, may_expire))
        return any(more)

    def _drop_dedup(self, work: UnitOfWork) -> bool:
        # Rows of deleted messages stay for deduplication; each row is checked once after its five minutes.
        end = first_sequence_at(work.now - WINDOW_MS)
        rows = work.read(
            "SELECT sequence, gone FROM messages WHERE sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?",
            (self._passed, end, 4 * _STEP),
        )
        gone = [(sequence,) for sequence, is_gone in rows if is_gone]
        if gone:
            work.sql().executemany("DELETE FROM messages WHERE sequence = ?", gone)
        if rows:
            self._passed = rows[-1][0]
        return len(rows) == 4 * _STEP


def _drop_dead_letters(work: UnitOfWork) -> bool:
    before = work.connection.total_changes
    more = _drop(work, "dead_letters", "expires_at <= ?", work.wall)
    if dropped := work.connection.total_changes - before:
        ledger.count_dropped(work.sql(), dropped)
    return more


def _drop_records(work: UnitOfWork) -> bool:
    # A queue keeps a message until it is settled, and its attempt record with it.
    rows = work.read("SELECT rowid, message_id FROM attempt_records WHERE expires_at <= ? LIMIT ?", (work.wall, _STEP))
    existing = work.received_ids() if rows else ()
    renewed = [(work.wall + RECORD_RENEWAL_MS, row) for row, message_id in rows if message_id in existing]
    expired = [(row,) for row, message_id in rows if message_id not in existing]
    if renewed:
        work.sql().executemany("UPDATE attempt_records SET expires_at = ? WHERE rowid = ?", renewed)
    if expired:
        work.sql().executemany("DELETE FROM attempt_records WHERE rowid = ?", expired)
    return len(rows) == _STEP


def _drop(work: UnitOfWork, table: str, condition: str, value: int) -> bool:
    rows = work.read(f"SELECT rowid FROM {table} WHERE {condition} LIMIT ?", (value, _STEP))  # noqa: S608 - constants
    if rows:
        work.sql().executemany(f"DELETE FROM {table} WHERE rowid = ?", rows)  # noqa: S608 - constants
    return len(rows) == _STEP


def _drop_journal(work: UnitOfWork, keep: int, may_expire: bool) -> bool:
    last = work.read("SELECT max(row) FROM journal")[0][0]
    if last is None:
        return False
    old = work.wall - JOURNAL_RETENTION_MS if may_expire else NEVER_MS
    rows = work.read("SELECT row, at FROM journal ORDER BY row LIMIT ?", (_STEP,))
    expired = [(row,) for row, at in rows if row <= last - keep or at < old]
    if expired:
        work.sql().executemany("DELETE FROM journal WHERE row = ?", expired)
        ledger.count_dropped(work.sql(), len(expired))
    return len(expired) == _STEP
