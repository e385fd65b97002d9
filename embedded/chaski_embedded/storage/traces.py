"""Traces of messages, as read by `chaski trace`: by identity or label, with the replays of each; and which messages there are.

The content of a delivered message is not stored, so a text search finds waiting messages and dead letters only. Rows of
attempts and queues have no index for a search by subject or text: searches are rare, and every send would have to update it.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.message.envelope import Envelope, read_envelope
from chaski_core.message.subject import group_id
from chaski_core.ports import AttemptEntry
from chaski_embedded.fifo.sequence import time_of
from chaski_embedded.storage import attempts, dead_letters
from chaski_embedded.storage.lineage import Lineage


class State(StrEnum):
    """The state of a message."""

    PENDING = "pending"  # on a queue
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"
    DISCARDED = "discarded"  # deleted without a dead letter


_ENDS = {"delivered": State.DELIVERED, "discarded": State.DISCARDED}  # by AttemptEntry.outcome


@dataclass(frozen=True, slots=True)
class Trace:
    """State and attempts of one message."""

    message_id: str  # the identity
    id: str  # the label
    subject: str
    state: State
    attempts: tuple[AttemptEntry, ...]  # oldest first
    replay_of: str | None = None  # of a replay: the identity of the original
    route: str = ""  # namespace/name; "": unknown


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message on a queue."""

    id: str
    subject: str
    route: str
    sent_at: int  # queue time, milliseconds


def find_traces(connection: sqlite3.Connection, wanted: str) -> list[Trace]:
    """Every message with an identity or a label, and their replays, oldest first. Call within one read transaction."""
    lineage = Lineage(connection)
    identities = [
        *attempts.identities(connection, wanted),
        *(each.message_id for each in dead_letters.of_message(connection, wanted)),
        *_with_label(connection, lineage, wanted),
        wanted,
    ]
    return read_traces(connection, lineage, lineage.with_replays(identities))


def read_traces(connection: sqlite3.Connection, lineage: Lineage, identities: Iterable[str]) -> list[Trace]:
    """The traces of messages, oldest first, without unknown identities."""
    wanted = dict.fromkeys(identities)
    waiting = _waiting(connection, lineage, wanted)
    found: list[tuple[int, Trace]] = []
    by_label: dict[str, Sequence[AttemptEntry]] = {}  # releases before identities stored the producer's id
    for identity in wanted:
        entries = attempts.read_entries(connection, identity)
        dead = dead_letters.of_identity(connection, identity)
        trace = _trace(identity, entries, dead, waiting.get(identity))
        if trace is not None:
            root = lineage.root(identity)
            replay_of = root if root != identity else dead[-1].replay_of if dead else None
            found.append((_first_time(entries, dead, waiting.get(identity)), replace(trace, replay_of=replay_of)))
        elif entries:
            by_label[identity] = entries
    found.sort(key=lambda each: each[0])
    return [_with_earlier(trace, by_label.pop(trace.id, ())) for _, trace in found]


def _trace(
    identity: str, entries: Sequence[AttemptEntry], dead: Sequence[DeadLetter], waiting: _Waiting | None
) -> Trace | None:
    if waiting is not None:
        return Trace(identity, waiting.id, waiting.subject, State.PENDING, tuple(entries), route=waiting.route)
    ended = end_of(entries)
    if dead and (ended is None or ended[0] < dead[-1].dead_lettered_at):
        last = dead[-1]
        return Trace(identity, last.id, last.subject, State.DEAD_LETTERED, tuple(entries), route=last.route)
    if ended is not None:
        latest = entries[-1]
        return Trace(identity, latest.id, latest.subject, ended[1], tuple(entries), route=latest.route)
    return None


def end_of(entries: Sequence[AttemptEntry]) -> tuple[int, State] | None:
    """The last attempt that ended its message, delivered or discarded: its start in epoch milliseconds, and which."""
    ends = [(entry.at, _ENDS[entry.outcome]) for entry in entries if entry.outcome in _ENDS]
    return max(ends, default=None)


def _first_time(entries: Sequence[AttemptEntry], dead: Sequence[DeadLetter], waiting: _Waiting | None) -> int:
    times = [*(entry.at for entry in entries[:1]), *(each.dead_lettered_at for each in dead[:1])]
    return min([*times, *([] if waiting is None else [waiting.sent_at])])


def _with_earlier(trace: Trace, earlier: Sequence[AttemptEntry]) -> Trace:
    return replace(trace, attempts=(*earlier, *trace.attempts)) if earlier else trace


def _waiting(connection: sqlite3.Connection, lineage: Lineage, wanted: Mapping[str, None]) -> dict[str, _Waiting]:
    # Without an index, which every send would have to update: a scan of rows of some hundred bytes.
    places = {identity: sequence for identity, sequence in lineage.waiting(connection) if identity in wanted}
    found: dict[str, _Waiting] = {}
    for identity, sequence in places.items():
        group, body = connection.execute(
            "SELECT group_id, body FROM messages JOIN bodies USING (sequence) WHERE sequence = ?", (sequence,)
        ).fetchone()
        envelope = read_envelope(body)
        label, subject, route = identity, str(group), ""
        if isinstance(envelope, Envelope):
            subject = envelope.subject
            if envelope.metadata is not None:
                label, route = envelope.metadata.id or identity, envelope.metadata.route or ""
        found[identity] = _Waiting(label, subject, route, time_of(sequence))
    return found


def _with_label(connection: sqlite3.Connection, lineage: Lineage, label: str) -> list[str]:
    """Identities of messages on queues that have a label, which only their bodies contain."""
    rows = connection.execute(
        "SELECT sequence, dedup_id, body FROM messages JOIN bodies USING (sequence) WHERE gone = 0 AND instr(body, ?)",
        (label.encode(),),
    )
    found = []
    for sequence, dedup_id, body in rows:
        envelope = read_envelope(body)
        if isinstance(envelope, Envelope) and envelope.metadata and envelope.metadata.id == label:
            found.append(lineage.identity(sequence, dedup_id))
    return found


def message_ids(connection: sqlite3.Connection, subject: str | None, text: str | None) -> Iterator[str]:
    """Identities of messages by subject, by text (ignoring case), or both; may have duplicates."""
    if subject is not None and text is None:
        rows = connection.execute(
            "SELECT message_id FROM journal WHERE subject = ? GROUP BY 1 ORDER BY min(row)", (subject,)
        )
        for (message_id,) in rows.fetchall():
            yield str(message_id)
    yield from _dead_letter_ids(connection, DeadLetterFilter(subject=subject, text=text))
    yield from _waiting_ids(connection, subject, text)


def _dead_letter_ids(connection: sqlite3.Connection, wanted: DeadLetterFilter) -> Iterator[str]:
    after: dead_letters.Key | None = dead_letters.START
    while after is not None:
        found, after = dead_letters.page(connection, wanted, after)
        yield from (each.message_id for each in found)


def _waiting_ids(connection: sqlite3.Connection, subject: str | None, text: str | None) -> Iterator[str]:
    lineage = Lineage(connection)
    group = None if subject is None else group_id(subject)
    bodies = connection.execute(
        "SELECT sequence, dedup_id, body FROM messages JOIN bodies USING (sequence) WHERE gone = 0 AND (? IS NULL OR group_id = ?) "
        "ORDER BY sequence",
        (group, group),
    )
    for sequence, dedup_id, body in bodies:
        envelope = read_envelope(body)
        if not isinstance(envelope, Envelope) or (subject is not None and envelope.subject != subject):
            continue
        if text is None or text.casefold() in json_codec.dumps(envelope.document).decode().casefold():
            yield lineage.identity(sequence, dedup_id)
