"""Finds messages by subject or by text: on the queues, in the journal, among the dead letters.

The content of a delivered message is not stored, so a text search finds waiting messages and dead letters only. Rows of
attempts and queues have no index for this: searches are rare, and every send would have to update it.
"""

import sqlite3
from collections.abc import Iterator

from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetterFilter
from chaski_core.message.envelope import Envelope, read_envelope
from chaski_core.message.subject import group_id
from chaski_embedded.storage import dead_letters
from chaski_embedded.storage.lineage import Lineage


def message_ids(connection: sqlite3.Connection, subject: str | None, text: str | None) -> Iterator[str]:
    """Identities of messages by subject, by text (ignoring case), or both; may have duplicates."""
    if subject is not None and text is None:
        rows = connection.execute(
            "SELECT message_id FROM journal WHERE subject = ? GROUP BY 1 ORDER BY min(row)", (subject,)
        )
        for (message_id,) in rows.fetchall():
            yield str(message_id)
    yield from _dead_letters(connection, DeadLetterFilter(subject=subject, text=text))
    yield from _waiting(connection, subject, text)


def _dead_letters(connection: sqlite3.Connection, wanted: DeadLetterFilter) -> Iterator[str]:
    after: dead_letters.Key | None = dead_letters.START
    while after is not None:
        found, after = dead_letters.page(connection, wanted, after)
        yield from (each.message_id for each in found)


def _waiting(connection: sqlite3.Connection, subject: str | None, text: str | None) -> Iterator[str]:
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
