"""The store of failures on DynamoDB: one table for a route, dead letters and attempt records side by side.

One table for both, since DynamoDB makes tables with indexes one after the other, and since attempt records (which stand
in no index) cost nothing there. `store/keys.py` has the keys.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.items import (
    ID_INDEX,
    SUBJECT_INDEX,
    TARGET_INDEX,
    document_of,
    is_expired,
    parts_of,
    read_letter,
    read_record,
    record_item,
    stored_letter,
)
from chaski_aws.dynamodb.keys import letter_key
from chaski_aws.dynamodb.marks import label_of_died, letter_of_died, mark_text, read_claim, read_mark
from chaski_aws.dynamodb.queries import Caller, fetched, merged, walk
from chaski_aws.dynamodb.values import Item
from chaski_core.dead_letter import (
    Claimed,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKey,
    ReplayClaim,
    ReplayMark,
    claimable,
)
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import AttemptRecord, Clock
from chaski_core.retry.outcome import class_of_key

T = TypeVar("T")
_CONDITION_FAILED = "ConditionalCheckFailedException"
_MAX_KNOWN_HOURS = 4_096
_WRITES_SIDE_BY_SIDE = 10
_TOKEN_BYTES = 16
_CLAIM_TRIES = 3  # a dead letter that changes between a claim that fails and the look at why is claimed again


class DynamoDeadLetters:
    """Implements `chaski_core.ports.DeadLetterStore`.

    Indexes follow the table within about a second, so a search by subject or target, and `get` of a label or of replays,
    may miss the newest; `get` of an identity finds its own at once.
    """

    def __init__(self, caller: Caller, table: str, retention_days: int, clock: Clock) -> None:
        """`retention_days`: of the route, counted from the time of the dead letter."""
        self._caller = caller
        self._table = table
        self._retention_days = retention_days
        self._clock = clock
        self._known_hours: set[str] = set()  # partitions that this process has marked as written to

    async def put(self, letter: DeadLetter) -> None:
        """Keeps a dead letter; where its message was kept before, nothing changes."""
        stored = stored_letter(letter, self._retention_days)
        await self._mark_hour(stored.hour)
        for part in stored.parts:
            await self._caller.call("PutItem", requests.put(self._table, part))
        request = requests.put_once(self._table, stored.died, stored.letter, os.urandom(_TOKEN_BYTES).hex())
        try:
            await self._caller.call("TransactWriteItems", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:
                raise

    async def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first, read page by page. Expired ones are left out."""
        async with aclosing(self._found(wanted)) as items:
            async for item in items:
                if is_expired(item, self._clock.now_ms()):
                    continue
                letter = await self._letter(item)
                if wanted.keeps(letter, "" if wanted.text is None else document_of(letter)):
                    yield letter

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays, or of a label, oldest first."""
        found = {each.key: each for each in await self._labelled(message_id) if each.id == message_id}
        died = (await self._caller.call("GetItem", requests.get_died(self._table, message_id))).get("Item")
        if died:
            item = (await self._caller.call("GetItem", requests.get(self._table, letter_of_died(died)))).get("Item")
            own = [await self._letter(item)] if item and not is_expired(item, self._clock.now_ms()) else []
            found |= {each.key: each for each in (*await self._labelled(label_of_died(died)), *own)}
        related = [each for each in found.values() if message_id in (each.message_id, each.id, each.replay_of)]
        return sorted(related, key=lambda letter: letter.key)

    async def _labelled(self, label: str) -> list[DeadLetter]:
        """Those with a label, or with one whose place in the index is the same."""
        every = keys.letters_window(DeadLetterFilter())
        entries = walk(self._caller, requests.query(self._table, keys.token(label), every, ID_INDEX))
        return [
            await self._letter(item)
            async for item in fetched(self._caller, self._table, entries)
            if not is_expired(item, self._clock.now_ms())
        ]

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to send them again; several at once."""
        return await _side_by_side(self._claim(key, judged, claim) for key, judged in wanted)

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Notes down that dead letters were sent again; several at once."""
        await _side_by_side(self._mark(key, mark) for key, mark in marks)

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters for good, with the pieces of their messages; several at once."""
        await _side_by_side(self._discard(key) for key in keys)

    async def _claim(self, key: DeadLetterKey, judged: ReplayMark | None, claim: ReplayClaim) -> Claimed:
        place, replay = letter_key(key), None if judged is None else mark_text(judged)
        for _ in range(_CLAIM_TRIES):
            try:
                await self._caller.call("UpdateItem", requests.claim_letter(self._table, place, replay, claim))
            except BackendRejectedError as error:
                if error.code != _CONDITION_FAILED:
                    raise
            else:
                return Claimed.YES
            item = (await self._caller.call("GetItem", requests.get_letter(self._table, place))).get("Item")
            if not item:
                return Claimed.GONE
            found = claimable(judged, read_mark(item), read_claim(item), claim)
            if found is not Claimed.YES:
                return found
        raise BackendUnavailableError(f"{self._table}: a dead letter of {key.subject} changes all the time")

    async def _mark(self, key: DeadLetterKey, mark: ReplayMark) -> None:
        request = requests.mark_letter(self._table, letter_key(key), mark_text(mark))
        try:
            await self._caller.call("UpdateItem", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:  # it is gone
                raise

    async def _discard(self, key: DeadLetterKey) -> None:
        answer = await self._caller.call("DeleteItem", requests.delete_letter(self._table, letter_key(key)))
        pk = parts_of(answer["Attributes"]) if answer.get("Attributes") else None
        if pk is not None:
            async for part in walk(self._caller, requests.parts_query(self._table, pk)):
                await self._caller.call("DeleteItem", requests.delete_part(self._table, part))

    async def _mark_hour(self, hour: Item) -> None:
        name = hour["sk"]["S"]
        if name in self._known_hours:
            return
        await self._caller.call("PutItem", requests.put(self._table, hour))
        if len(self._known_hours) >= _MAX_KNOWN_HOURS:
            self._known_hours.clear()
        self._known_hours.add(name)

    async def _found(self, wanted: DeadLetterFilter) -> AsyncGenerator[Item, None]:
        window = keys.letters_window(wanted)
        if window.empty:
            return
        if wanted.subject is not None:
            pk = keys.token(wanted.subject)
            entries = walk(self._caller, requests.query(self._table, pk, window, SUBJECT_INDEX))
        elif wanted.target is not None:
            target = wanted.target

            def of_target(hour: str) -> Mapping[str, object]:
                return requests.query(self._table, keys.target_pk(target, hour), window, TARGET_INDEX)

            entries = merged(self._caller, self._hours(wanted), of_target)
        else:
            entries = merged(self._caller, self._hours(wanted), lambda hour: requests.query(self._table, hour, window))
        if wanted.subject is not None or wanted.target is not None:
            entries = fetched(self._caller, self._table, self._worth_fetching(entries, wanted))
        async with aclosing(entries):
            async for item in entries:
                yield item

    async def _hours(self, wanted: DeadLetterFilter) -> AsyncGenerator[str, None]:
        window = keys.hours_window(wanted)
        async with aclosing(walk(self._caller, requests.query(self._table, keys.HOURS_PK, window))) as hours:
            async for item in hours:
                yield item["sk"]["S"]

    async def _worth_fetching(
        self, entries: AsyncIterator[Item], wanted: DeadLetterFilter
    ) -> AsyncGenerator[Item, None]:
        async for entry in entries:
            error_class = entry.get("errorClass", {}).get("S")
            expected = {None, error_class, class_of_key(error_class or "")}
            if wanted.error_class in expected and not is_expired(entry, self._clock.now_ms()):
                yield entry

    async def _letter(self, item: Item) -> DeadLetter:
        pk = parts_of(item)
        if pk is None:
            return read_letter(item)
        parts = walk(self._caller, requests.parts_query(self._table, pk))
        return read_letter(item, [part async for part in parts])


async def _side_by_side(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    limit = asyncio.Semaphore(_WRITES_SIDE_BY_SIDE)

    async def one(call: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await call

    results = await asyncio.gather(*map(one, calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


class DynamoAttemptRecords:
    """Implements `chaski_core.ports.AttemptRecords`."""

    def __init__(self, caller: Caller, table: str, clock: Clock) -> None:
        self._caller = caller
        self._table = table
        self._clock = clock

    async def read(self, message_id: str) -> AttemptRecord | None:
        """The record, consistently."""
        answer = await self._caller.call("GetItem", requests.get_attempt(self._table, message_id))
        return read_record(answer["Item"]) if answer.get("Item") else None

    async def write(self, message_id: str, record: AttemptRecord) -> None:
        """Keeps the record for 15 days, a day longer than its message can live."""
        item = record_item(message_id, record, self._clock.now_ms())
        await self._caller.call("PutItem", requests.put(self._table, item))

    async def delete(self, message_id: str) -> None:
        """Drops the record, if there is one."""
        await self._caller.call("DeleteItem", requests.delete_attempt(self._table, message_id))
