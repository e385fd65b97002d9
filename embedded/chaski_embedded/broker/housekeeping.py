"""What is dropped when its time has come, in small steps between the commands of others."""

from chaski_embedded.broker.unit_of_work import UnitOfWork
from chaski_embedded.fifo.deduplication import WINDOW_MS
from chaski_embedded.fifo.sequence import first_sequence_at
from chaski_embedded.storage import ledger

PAUSE_SECONDS = 10.0
STEP_PAUSE_SECONDS = 0.02
JOURNAL_RETENTION_MS = 1_209_600_000  # 14 days: as long as a message can lie on a queue
RECORD_RENEWAL_MS = 86_400_000  # added to an old record whose message still waits
NEVER_MS = -(2**63)  # before all times
JOURNAL_MAX_ROWS = 2_000_000  # some 400 MB; the oldest go first
_STEP = 500  # rows


class Cursor:
    """Where housekeeping stands. `step` runs on the engine's thread."""

    def __init__(self, *, journal_rows: int = JOURNAL_MAX_ROWS) -> None:
        self._journal_rows = journal_rows
        self._passed = 0  # sequence number up to which no row of a message that is gone is left

    def step(self, session: UnitOfWork) -> bool:
        """Drops some of what is over; whether there may be more."""
        more = [queue.fifo.expire(_STEP, session.now) for queue in map(session.queue, list(session.queues))]
        more.append(self._drop_dedup(session))
        may_expire = session.may_expire()
        if may_expire:
            more += [_drop_letters(session), _drop_records(session)]
            more.append(_drop(session, "died", "expires_at <= ?", session.wall))
        more.append(_drop_journal(session, self._journal_rows, may_expire))
        return any(more)

    def _drop_dedup(self, session: UnitOfWork) -> bool:
        # Rows of deleted messages stay for deduplication; each row is looked at once after its five minutes.
        end = first_sequence_at(session.now - WINDOW_MS)
        rows = session.read(
            "SELECT sequence, gone FROM messages WHERE sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?",
            (self._passed, end, 4 * _STEP),
        )
        gone = [(sequence,) for sequence, is_gone in rows if is_gone]
        if gone:
            session.sql().executemany("DELETE FROM messages WHERE sequence = ?", gone)
        if rows:
            self._passed = rows[-1][0]
        return len(rows) == 4 * _STEP


def _drop_letters(session: UnitOfWork) -> bool:
    before = session.connection.total_changes
    more = _drop(session, "dead_letters", "expires_at <= ?", session.wall)
    if dropped := session.connection.total_changes - before:
        ledger.note_dropped(session.sql(), dropped)
    return more


def _drop_records(session: UnitOfWork) -> bool:
    # A queue keeps a message for as long as it takes, and the record of its attempts stays with it.
    rows = session.read(
        "SELECT rowid, message_id FROM attempt_records WHERE expires_at <= ? LIMIT ?", (session.wall, _STEP)
    )
    alive = session.received_ids() if rows else ()
    kept = [(session.wall + RECORD_RENEWAL_MS, row) for row, message_id in rows if message_id in alive]
    over = [(row,) for row, message_id in rows if message_id not in alive]
    if kept:
        session.sql().executemany("UPDATE attempt_records SET expires_at = ? WHERE rowid = ?", kept)
    if over:
        session.sql().executemany("DELETE FROM attempt_records WHERE rowid = ?", over)
    return len(rows) == _STEP


def _drop(session: UnitOfWork, table: str, condition: str, value: int) -> bool:
    rows = session.read(f"SELECT rowid FROM {table} WHERE {condition} LIMIT ?", (value, _STEP))  # noqa: S608 - constants
    if rows:
        session.sql().executemany(f"DELETE FROM {table} WHERE rowid = ?", rows)  # noqa: S608 - as above
    return len(rows) == _STEP


def _drop_journal(session: UnitOfWork, keep: int, may_expire: bool) -> bool:
    last = session.read("SELECT max(row) FROM journal")[0][0]
    if last is None:
        return False
    old = session.wall - JOURNAL_RETENTION_MS if may_expire else NEVER_MS
    rows = session.read("SELECT row, at FROM journal ORDER BY row LIMIT ?", (_STEP,))
    over = [(row,) for row, at in rows if row <= last - keep or at < old]
    if over:
        session.sql().executemany("DELETE FROM journal WHERE row = ?", over)
        ledger.note_dropped(session.sql(), len(over))
    return len(over) == _STEP
