"""The SQLite file: its tables, its version, and how to open it."""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from chaski_core.errors import BackendRejectedError

FILE_NAME = "chaski.db"
_BUSY_MS = 5_000  # a checkpoint of a reader or an earlier owner may lock the file for a moment
_CHECKPOINT_PAGES = 4_000  # 16 MiB of log: fewer and longer checkpoints than SQLite's 4 MiB
_CACHE_KIB = 16_384  # indexes of the journal are written at random places: with 2 MiB, SQLite's own, a row takes a sixth more CPU
_LOG_BYTES = 67_108_864  # size to which a larger log is truncated

# One script for each version; `user_version` counts those applied. A released script is never changed: add another.
_MIGRATIONS = (
    """
    CREATE TABLE state (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      salt BLOB NOT NULL,               -- of message ids
      last_sequence INTEGER NOT NULL,
      queue_time INTEGER NOT NULL       -- milliseconds, at the last commit
    );
    CREATE TABLE queues (
      id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: receipt handles hold it
      name TEXT NOT NULL UNIQUE,
      settings TEXT NOT NULL,           -- JSON: the SQS attributes that were set
      tags TEXT NOT NULL,               -- JSON
      dedup_per_group INTEGER NOT NULL, -- as created: the scope of a live queue does not change
      created_at INTEGER NOT NULL,      -- epoch milliseconds
      modified_at INTEGER NOT NULL,
      purged_at INTEGER NOT NULL
    );
    CREATE TABLE deleted_queues (
      name TEXT PRIMARY KEY,
      deleted_at INTEGER NOT NULL
    );
    -- Small rows without the bodies: the index in memory is rebuilt from them, and a message is found by its id, in
    -- one scan that reads no body. They outlive their message by the five minutes of deduplication (`gone`).
    CREATE TABLE messages (
      sequence INTEGER PRIMARY KEY,
      queue INTEGER NOT NULL,
      group_id TEXT NOT NULL,
      dedup_id TEXT NOT NULL,
      sent_at INTEGER NOT NULL,         -- epoch milliseconds by the wall clock
      gone INTEGER NOT NULL DEFAULT 0,
      receives INTEGER NOT NULL DEFAULT 0,
      first_at INTEGER NOT NULL DEFAULT 0,
      since INTEGER NOT NULL DEFAULT 0, -- queue time of the latest receive
      until INTEGER NOT NULL DEFAULT 0  -- queue time at which it is visible again
    );
    CREATE TABLE bodies (
      sequence INTEGER PRIMARY KEY,
      body BLOB NOT NULL,
      attributes BLOB
    );
    CREATE TABLE dead_letters (
      dead_lettered_at INTEGER NOT NULL,
      id TEXT NOT NULL,
      subject TEXT NOT NULL,
      route TEXT NOT NULL,
      target TEXT NOT NULL,
      error_class TEXT NOT NULL,        -- most specific: 404
      class TEXT NOT NULL,              -- 4xx
      expires_at INTEGER NOT NULL,
      item TEXT NOT NULL,               -- JSON: all the rest
      raw BLOB,
      PRIMARY KEY (dead_lettered_at, id, subject, route)
    );
    CREATE INDEX dead_letters_by_id ON dead_letters (id, dead_lettered_at, subject, route);
    CREATE INDEX dead_letters_by_subject ON dead_letters (subject, dead_lettered_at, id, route);
    CREATE INDEX dead_letters_by_target ON dead_letters (target, dead_lettered_at, id, subject, route);
    CREATE INDEX dead_letters_by_error ON dead_letters (error_class, dead_lettered_at, id, subject, route);
    CREATE INDEX dead_letters_by_class ON dead_letters (class, dead_lettered_at, id, subject, route);
    CREATE INDEX dead_letters_by_expiry ON dead_letters (expires_at);
    CREATE TABLE attempt_records (
      message_id TEXT PRIMARY KEY,
      record TEXT NOT NULL,             -- JSON
      expires_at INTEGER NOT NULL
    );
    CREATE INDEX attempt_records_by_expiry ON attempt_records (expires_at);
    CREATE TABLE journal (
      row INTEGER PRIMARY KEY,
      message_id TEXT NOT NULL,
      subject TEXT NOT NULL,
      route TEXT NOT NULL,
      number INTEGER NOT NULL,
      at INTEGER NOT NULL,              -- epoch milliseconds
      stage TEXT NOT NULL,
      outcome TEXT NOT NULL,
      error_class TEXT NOT NULL,
      status INTEGER,
      duration_ms REAL NOT NULL,
      detail TEXT NOT NULL
    );
    CREATE INDEX journal_by_message ON journal (message_id);
    CREATE TABLE routes (
      key TEXT PRIMARY KEY,             -- namespace/name
      document TEXT NOT NULL,           -- JSON: the ChaskiRoute
      ordering TEXT NOT NULL,
      map_fingerprint TEXT NOT NULL,    -- of the newest generation
      retention_days INTEGER NOT NULL
    );
    CREATE TABLE generations (
      route TEXT NOT NULL,
      number INTEGER NOT NULL,
      queues TEXT NOT NULL,             -- JSON: queue -> URL of each partition
      PRIMARY KEY (route, number)
    );
    CREATE TABLE rungs (
      route TEXT NOT NULL,
      name TEXT NOT NULL,
      delay_seconds INTEGER NOT NULL,
      url TEXT NOT NULL,
      PRIMARY KEY (route, name)
    );
    """,
    "ALTER TABLE dead_letters ADD COLUMN replay TEXT;  -- JSON: [run, epoch, epoch milliseconds] of the latest replay",
    """
    -- Counters of `chaski ledger`: messages that ingest accepted, and records that were dropped.
    ALTER TABLE state ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE state ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- The clocks at the last commit, and the remaining expiry pause (queue_time.py).
    ALTER TABLE state ADD COLUMN wall INTEGER NOT NULL DEFAULT 0;       -- epoch milliseconds
    ALTER TABLE state ADD COLUMN monotonic INTEGER NOT NULL DEFAULT 0;  -- milliseconds
    ALTER TABLE state ADD COLUMN boot TEXT NOT NULL DEFAULT '';         -- of the machine
    ALTER TABLE state ADD COLUMN hold_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE state ADD COLUMN probe BLOB;          -- test data written after a failed write
    -- A queue of a route keeps a message until it is deleted. Earlier releases marked them by this tag.
    ALTER TABLE queues ADD COLUMN keeps INTEGER NOT NULL DEFAULT 0;
    UPDATE queues SET keeps = 1 WHERE json_extract(tags, '$.chaski') = 'route';
    """,
    """
    -- Messages by identity: the MessageId that their first queue gave them. Earlier rows have the producer's id instead,
    -- and as time of a dead letter that at which its message was sent. Both stay unchanged in existing rows.
    CREATE TABLE letters_by_identity (
      dead_lettered_at INTEGER NOT NULL, -- epoch milliseconds: when it was stored
      message_id TEXT NOT NULL,          -- the identity; the producer's id in earlier rows
      id TEXT NOT NULL,                  -- the producer's id, a label
      subject TEXT NOT NULL,
      route TEXT NOT NULL,
      target TEXT NOT NULL,
      error_class TEXT NOT NULL,         -- most specific: 404
      class TEXT NOT NULL,               -- 4xx
      expires_at INTEGER NOT NULL,
      item TEXT NOT NULL,                -- JSON: all the rest
      raw BLOB,
      replay TEXT,                       -- JSON: [run, epoch, epoch milliseconds, identity] of the latest replay
      replay_of TEXT,                    -- of a replay: the identity of the original
      claim TEXT,                        -- JSON: [run, epoch milliseconds]: that run is about to replay it
      PRIMARY KEY (dead_lettered_at, message_id, subject, route)
    );
    INSERT INTO letters_by_identity
      SELECT dead_lettered_at, id, id, subject, route, target, error_class, class, expires_at, item, raw, replay,
        NULL, NULL
      FROM dead_letters;
    DROP TABLE dead_letters;
    ALTER TABLE letters_by_identity RENAME TO dead_letters;
    CREATE INDEX dead_letters_by_message ON dead_letters (message_id);
    CREATE INDEX dead_letters_by_id ON dead_letters (id);
    CREATE INDEX dead_letters_by_root ON dead_letters (replay_of) WHERE replay_of IS NOT NULL;
    CREATE INDEX dead_letters_by_subject ON dead_letters (subject, dead_lettered_at, message_id, route);
    CREATE INDEX dead_letters_by_target ON dead_letters (target, dead_lettered_at, message_id, subject, route);
    CREATE INDEX dead_letters_by_error ON dead_letters (error_class, dead_lettered_at, message_id, subject, route);
    CREATE INDEX dead_letters_by_class ON dead_letters (class, dead_lettered_at, message_id, subject, route);
    CREATE INDEX dead_letters_by_expiry ON dead_letters (expires_at);
    -- A message becomes a dead letter once, also if that was discarded since.
    CREATE TABLE died (
      message_id TEXT PRIMARY KEY,
      expires_at INTEGER NOT NULL
    );
    CREATE INDEX died_by_expiry ON died (expires_at);
    ALTER TABLE journal ADD COLUMN id TEXT;  -- the producer's id; NULL in earlier rows, where message_id has it
    CREATE INDEX journal_by_id ON journal (id) WHERE id IS NOT NULL;
    -- The original of a replay, written in the transaction of the replay. Some 60 bytes each.
    CREATE TABLE replays (
      sequence INTEGER PRIMARY KEY,      -- of the replay: `sequence.message_id` derives its identity from it
      source TEXT NOT NULL               -- the identity of the dead letter
    );
    CREATE TRIGGER replay_sent AFTER INSERT ON messages
    WHEN instr(NEW.dedup_id, ':replay:') AND NEW.dedup_id NOT GLOB '*:replay:*:*' BEGIN  -- not a rung named replay
      INSERT INTO replays VALUES (NEW.sequence, substr(NEW.dedup_id, 1, instr(NEW.dedup_id, ':replay:') - 1));
    END;
    -- Replays sent by releases before identities: <id>:<epoch from 1>:<rung>:<number>.
    INSERT INTO replays
      SELECT sequence, substr(dedup_id, 1, instr(dedup_id, ':') - 1) FROM messages
      WHERE gone = 0 AND dedup_id LIKE '_%:_%:_%:_%'
        AND substr(dedup_id, instr(dedup_id, ':') + 1) NOT LIKE '0:%';
    """,
    "DROP TRIGGER replay_sent;  -- the unit of work writes these rows: with a trigger every insert takes 1.7 times as long",
    """
    -- What people decided about waiting subjects.
    CREATE TABLE control_records (
      route TEXT NOT NULL,              -- namespace/name
      message_id TEXT NOT NULL,         -- the identity of the message; '' for a hold of the subject
      subject TEXT NOT NULL,
      action TEXT NOT NULL,
      at INTEGER NOT NULL,              -- epoch milliseconds
      attempts INTEGER,                 -- of the message when it was decided
      expires_at INTEGER NOT NULL,
      UNIQUE (route, message_id, subject)
    );
    CREATE INDEX control_records_by_expiry ON control_records (expires_at);
    """,
)
VERSION = len(_MIGRATIONS)


def connect(file: Path) -> sqlite3.Connection:
    """A connection with explicit transactions, whose commits survive a power failure.

    The file and the files that SQLite creates beside it are readable by their owner only.

    Raises:
        sqlite3.Error: the file can't be opened, or is not a database.
    """
    _restrict(file)
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _restrict(file: Path) -> None:
    # SQLite gives its log and index the mode of the database: https://sqlite.org/wal.html. An earlier release left them
    # readable for everyone. The mode of another user's file is not changed.
    # An existing file is not opened: closing it would release the locks of this process's other connections to it.
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for each in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
        with contextlib.suppress(OSError):
            each.chmod(0o600)


def connect_reader(file: Path) -> sqlite3.Connection:
    """A read-only connection; it may be used beside the owner's, also in another process.

    Raises:
        sqlite3.Error: the file can't be opened, or is not a database.
    """
    # Not mode=ro: after a crash the first process that opens the file reads the log, which writes the shared index.
    uri = f"{file.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA query_only = ON")
    return connection


def check_version(connection: sqlite3.Connection, file: Path) -> int:
    """The number of migrations applied to the file.

    Raises:
        BackendRejectedError: a newer release wrote it.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(_MIGRATIONS):
        raise BackendRejectedError(
            "DataTooNew",
            f"{file} has version {version}, and this release supports versions up to {len(_MIGRATIONS)}: use the release "
            "that wrote it, or a newer one, or another data folder",
        )
    return version


def migrate(connection: sqlite3.Connection, file: Path, now_ms: int) -> None:
    """Migrates a file to this release's version, each step in its own transaction.

    Raises:
        BackendRejectedError: a newer release wrote the file.
    """
    for version in range(check_version(connection, file), len(_MIGRATIONS)):
        steps = [_MIGRATIONS[version], f"PRAGMA user_version = {version + 1};"]
        connection.executescript("\n".join(["BEGIN IMMEDIATE;", *steps, "COMMIT;"]))
    connection.execute(
        "INSERT OR IGNORE INTO state (id, salt, last_sequence, queue_time) VALUES (1, ?, 0, ?)",
        (secrets.token_bytes(16), now_ms),
    )
