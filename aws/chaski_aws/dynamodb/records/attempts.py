"""Attempt records: the progress of the message at the head of a subject, at a price that does not grow with its failures.

The record's own item holds the ladder's state, the place of the hidden head, and the newest errors, within two write units. Once
an error does not fit any more, the errors are moved, compressed, to an item of their own, which is never written again, and only
the beginning of the last one stays. So a failure costs two to four write units, and not all errors so far. These items are left
to expire: DynamoDB charges for a delete, not for an expiry.

The release before kept all errors in the record's item and reads this form as a record with fewer errors; what it has written is
read here. The number of retries is right in both.
"""

import base64
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.items import item_bytes, notes_text, read_notes, utf8
from chaski_aws.dynamodb.queries import fetch_items, read_query
from chaski_aws.dynamodb.table import ID_INDEX, TTL_ATTRIBUTE, Item, b, n, read_number, read_text, s
from chaski_aws.http.transport import AwsTransport
from chaski_core import json_codec
from chaski_core.ports import RETENTION_SECONDS, AttemptRecord, Clock, HiddenHead
from chaski_core.retry.ladder import ErrorNote, LadderState, notes_of

_DAY_SECONDS = 86_400
_RECORD_SECONDS = RETENTION_SECONDS + _DAY_SECONDS  # a record outlives its message by a day
_RECORD_BYTES = 2_048  # two write units
_MOVED_BYTES = 100_000  # of the texts of one item, before compression, unless one error is larger
_SHORT_CHARACTERS, _LARGE_CHARACTERS = 250, 50_000  # of a detail beside moved errors; of a text that is moved
_MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Moved:
    """How many of a record's errors, from the first on, are in items of their own."""

    errors: int
    last_at: int = 0  # of the last one, epoch milliseconds

    def covers(self, notes: Sequence[ErrorNote]) -> bool:
        """Whether these are the errors of the record that it is about."""
        return not self.errors or (len(notes) >= self.errors and notes[self.errors - 1].at == self.last_at)


@dataclass(frozen=True, slots=True)
class RecordItems:
    """What is written for a record: first the moved errors, then the record, which counts them."""

    moved: tuple[Item, ...]
    record: Item
    known: Moved  # afterwards


def record_items(message_id: str, record: AttemptRecord, before: Moved, now_ms: int) -> RecordItems:
    """The items to write for a record.

    Args:
        message_id: of SQS.
        record: the record.
        before: how many of its errors are moved already.
        now_ms: epoch milliseconds.
    """
    notes = _stored(record.state.errors)
    if not before.covers(notes):
        before = Moved(0)
    base = _base(message_id, record, now_ms)
    pending = notes[before.errors :]
    if pending or not before.errors:
        item = _with_errors(base, pending, before.errors, len(pending))
        if not pending or item_bytes(item) <= _RECORD_BYTES:
            return RecordItems((), item, before)
    last = notes[-1]
    short = replace(last, detail=last.detail[:_SHORT_CHARACTERS], excerpt="")
    moved = tuple(_moved_items(message_id, pending, before.errors, base[TTL_ATTRIBUTE]))
    return RecordItems(moved, _with_errors(base, (short,), len(notes), 0), Moved(len(notes), last.at))


def _base(message_id: str, record: AttemptRecord, now_ms: int) -> Item:
    # The item of a hidden head has an entry in the index by id. It expires at the end of a day, because DynamoDB writes an index
    # entry again, at the price of another write, only where one of its attributes has changed.
    expires_at = now_ms // 1000 + _RECORD_SECONDS
    item: Item = {
        "pk": s(keys.attempt_pk(message_id)),
        "sk": s(keys.ATTEMPT_SK),
        TTL_ATTRIBUTE: n(-(-expires_at // _DAY_SECONDS) * _DAY_SECONDS),
        "key": s(record.state.key),
        "retries": n(record.state.retries),
        "dueAt": n(record.due_at),
        "receives": n(record.receives),
    }
    if record.exhausted_at is not None:
        item["exhaustedAt"] = n(record.exhausted_at)
    if record.held_at is not None:
        item["heldAt"] = n(record.held_at)
    return item if record.head is None else item | _head_of(message_id, record.head)


def _head_of(message_id: str, head: HiddenHead) -> Item:
    return {
        "idKey": s(keys.head_token(message_id)),
        "messageId": s(message_id),
        "route": s(head.route),
        "subject": s(head.subject),
        "queue": s(head.queue_url),
        "handle": s(head.receipt_handle),
        "hiddenUntil": n(head.until),
    }


def _with_errors(base: Item, notes: Sequence[ErrorNote], moved: int, pending: int) -> Item:
    item = base | {"errors": s(notes_text(notes))}
    return item | {"moved": n(moved), "pending": n(pending)} if moved else item


def _moved_items(message_id: str, notes: Sequence[ErrorNote], start: int, expires_at: dict[str, str]) -> Iterator[Item]:
    group: list[ErrorNote] = []
    for note in notes:
        if group and sum(map(_text_bytes, (*group, note))) > _MOVED_BYTES:
            yield _moved_item(message_id, group, start, expires_at)
            start, group = start + len(group), []
        group.append(note)
    if group:
        yield _moved_item(message_id, group, start, expires_at)


def _moved_item(message_id: str, notes: Sequence[ErrorNote], start: int, expires_at: dict[str, str]) -> Item:
    return {
        "pk": s(keys.climb_pk(message_id)),
        "sk": s(f"{start:06d}"),
        TTL_ATTRIBUTE: expires_at,
        "notes": b(zlib.compress(notes_text(notes).encode())),
    }


def _text_bytes(note: ErrorNote) -> int:
    return len(note.detail.encode()) + len(note.excerpt.encode()) + len(note.key)


def _stored(notes: Sequence[ErrorNote]) -> tuple[ErrorNote, ...]:
    return tuple(
        replace(note, detail=utf8(note.detail)[:_LARGE_CHARACTERS], excerpt=utf8(note.excerpt)[:_LARGE_CHARACTERS])
        for note in notes
    )


def lacks_errors(item: Item) -> bool:
    """Whether errors of a record are in other items, or may be: the release before does not count them."""
    return "moved" in item or len(read_notes(item)) < read_number(item, "retries") + 1


def read_record(item: Item, moved: Sequence[Item] = ()) -> AttemptRecord:
    """The attempt record of an item.

    Args:
        item: the item.
        moved: the items of moved errors, in order. Without them the record has only the errors of its own item.
    """
    head = None
    if "handle" in item:
        head = HiddenHead(
            read_text(item, "route"),
            read_text(item, "subject"),
            read_text(item, "queue"),
            read_text(item, "handle"),
            read_number(item, "hiddenUntil"),
        )
    return AttemptRecord(
        LadderState(read_text(item, "key"), read_number(item, "retries"), _all_notes(item, moved)),
        read_number(item, "dueAt"),
        read_number(item, "exhaustedAt") if "exhaustedAt" in item else None,
        read_number(item, "receives") if "receives" in item else 0,
        head,
        read_number(item, "heldAt") if "heldAt" in item else None,
    )


def _all_notes(item: Item, moved: Sequence[Item]) -> tuple[ErrorNote, ...]:
    own = read_notes(item)
    earlier: list[ErrorNote] = []
    for each in moved:
        notes = notes_of(json_codec.loads(zlib.decompress(base64.b64decode(each["notes"]["B"]))))
        # Errors that were moved again are in more than one item: the earlier item is as long, or longer.
        earlier += notes[max(0, len(earlier) - int(read_text(each, "sk"))) :]
    if not earlier:
        return own
    if "moved" not in item:  # the release before has written it, with the last moved error and its own
        return (*earlier, *(note for note in own if note.at > earlier[-1].at))
    pending = read_number(item, "pending")
    return (*earlier[: read_number(item, "moved")], *own[len(own) - pending :])


class DynamoAttemptRecords:
    """Implements `chaski_core.ports.AttemptRecords`."""

    def __init__(self, transport: AwsTransport, table: str, clock: Clock) -> None:
        self._transport = transport
        self._table = table
        self._clock = clock
        # Of the records read or written last. Of one that is not known all errors are moved again, to the same items.
        self._known: dict[str, Moved] = {}

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, by consistent reads."""
        response = await self._transport.call("GetItem", requests.get_attempt(self._table, message_id))
        item = response.get("Item")
        if not item:
            return None
        moved: list[Item] = []
        if lacks_errors(item):
            query = requests.parts_query(self._table, keys.climb_pk(message_id))
            moved = [each async for each in read_query(self._transport, query)]
        record = read_record(item, moved)
        errors = read_number(item, "moved") if "moved" in item else 0
        is_whole = 0 < errors <= len(record.state.errors)
        self._remember(message_id, Moved(errors, record.state.errors[errors - 1].at) if is_whole else Moved(0))
        return record

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Stores the record for 15 days, a day longer than its message can exist."""
        items = record_items(message_id, record, self._known.get(message_id, Moved(0)), self._clock.now_ms())
        for item in (*items.moved, items.record):
            await self._transport.call("PutItem", requests.put(self._table, item))
        self._remember(message_id, items.known)

    async def delete(self, message_id: str) -> None:
        """Deletes the record, if there is one. Its moved errors expire."""
        self._known.pop(message_id, None)
        await self._transport.call("DeleteItem", requests.delete_attempt(self._table, message_id))

    async def hidden(self, route: str) -> AsyncIterator[tuple[str, AttemptRecord]]:
        """The records of hidden heads, without moved errors. The index lags behind the table by about a second."""
        every = keys.Window(keys.ATTEMPT_SK, keys.ATTEMPT_SK)
        for token in keys.HEAD_TOKENS:
            entries = read_query(self._transport, requests.query(self._table, token, every, ID_INDEX))
            async with aclosing(fetch_items(self._transport, self._table, entries)) as items:
                async for item in items:
                    record = read_record(item)
                    if record.head is not None and record.head.route == route:
                        yield read_text(item, "messageId"), record

    def _remember(self, message_id: str, known: Moved) -> None:
        self._known.pop(message_id, None)
        if known.errors:
            self._known[message_id] = known
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
