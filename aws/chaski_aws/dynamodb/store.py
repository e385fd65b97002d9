"""Dead letters on DynamoDB: one table per route for these and for attempt records (`records/attempts.py`).

One table, since DynamoDB creates tables with indexes one after another. `keys.py` describes the keys.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.items import (
    dead_letter_items,
    has_target_by_hour,
    is_dead_letter,
    is_expired,
    may_have_dead_letters,
    parts_of,
    read_dead_letter,
)
from chaski_aws.dynamodb.keys import dead_letter_key
from chaski_aws.dynamodb.marks import key_of_died, label_of_died, mark_text, read_claim, read_mark
from chaski_aws.dynamodb.queries import fetch_items, read_merged, read_partitions, read_query
from chaski_aws.dynamodb.table import ID_INDEX, SUBJECT_INDEX, TARGET_INDEX, Item
from chaski_aws.http.transport import AwsTransport
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
from chaski_core.ports import Clock
from chaski_core.retry.outcome import class_of_key

T = TypeVar("T")
_CONDITION_FAILED = "ConditionalCheckFailedException"
_MAX_KNOWN_HOURS = 4_096
_CONCURRENT_WRITES = 10
_TOKEN_BYTES = 16
_CLAIM_TRIES = 3  # a dead letter may change between a failed claim and the read that explains it


class DynamoDeadLetters:
    """Implements `chaski_core.ports.DeadLetterStore`.

    Indexes lag behind the table by about a second, so a search by subject or target, and `get` of a label or of replays,
    may miss the newest dead letters; `get` of an identity finds its dead letter at once.
    """

    def __init__(self, transport: AwsTransport, table: str, retention_days: int, clock: Clock) -> None:
        """`retention_days`: of the route, counted from `dead_lettered_at`."""
        self._transport = transport
        self._table = table
        self._retention_days = retention_days
        self._clock = clock
        self._known_hours: set[str] = set()  # partitions whose hour item this process has written

    async def put(self, dead_letter: DeadLetter) -> None:
        """Stores a dead letter, unless its identity is stored already."""
        items = dead_letter_items(dead_letter, self._retention_days)
        await self._record_hour(items.hour)
        for part in items.parts:
            await self._transport.call("PutItem", requests.put(self._table, part))
        request = requests.put_once(self._table, items.died, items.dead_letter, os.urandom(_TOKEN_BYTES).hex())
        try:
            await self._transport.call("TransactWriteItems", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:
                raise

    async def find(self, wanted: DeadLetterFilter, *, newest_first: bool = False) -> AsyncIterator[DeadLetter]:
        """Dead letters that pass the filter, oldest first or newest first, read page by page, without expired ones."""
        async with aclosing(self._candidates(wanted, newest_first=newest_first)) as items:
            async for item in items:
                if is_expired(item, self._clock.now_ms()):
                    continue
                dead_letter = await self._read(item)
                if wanted.matches(dead_letter):
                    yield dead_letter

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every dead letter of an identity, of its replays, or of a label, oldest first."""
        found = {each.key: each for each in await self._with_label(message_id) if each.id == message_id}
        died = (await self._transport.call("GetItem", requests.get_died(self._table, message_id))).get("Item")
        if died:
            item = (await self._transport.call("GetItem", requests.get(self._table, key_of_died(died)))).get("Item")
            own = [await self._read(item)] if item and not is_expired(item, self._clock.now_ms()) else []
            found |= {each.key: each for each in (*await self._with_label(label_of_died(died)), *own)}
        related = [each for each in found.values() if message_id in (each.message_id, each.id, each.replay_of)]
        return sorted(related, key=lambda each: each.key)

    async def _with_label(self, label: str) -> list[DeadLetter]:
        """Dead letters with a label, or with one whose key in the index is the same."""
        every = keys.dead_letters_window(DeadLetterFilter())
        entries = read_query(self._transport, requests.query(self._table, keys.token(label), every, ID_INDEX))
        return [
            await self._read(item)
            async for item in fetch_items(self._transport, self._table, entries)
            if is_dead_letter(item) and not is_expired(item, self._clock.now_ms())
        ]

    async def claim(
        self, wanted: Sequence[tuple[DeadLetterKey, ReplayMark | None]], claim: ReplayClaim
    ) -> Sequence[Claimed]:
        """Claims dead letters for a run that is about to replay them, concurrently."""
        return await _gather_bounded(self._claim(key, mark, claim) for key, mark in wanted)

    async def mark(self, marks: Sequence[tuple[DeadLetterKey, ReplayMark]]) -> None:
        """Marks dead letters as replayed, concurrently."""
        await _gather_bounded(self._mark(key, mark) for key, mark in marks)

    async def discard(self, keys: Sequence[DeadLetterKey]) -> None:
        """Deletes dead letters and the parts of their messages permanently, concurrently."""
        await _gather_bounded(self._discard(key) for key in keys)

    async def _claim(self, key: DeadLetterKey, mark: ReplayMark | None, claim: ReplayClaim) -> Claimed:
        primary, replay = dead_letter_key(key), None if mark is None else mark_text(mark)
        for _ in range(_CLAIM_TRIES):
            try:
                await self._transport.call(
                    "UpdateItem", requests.claim_dead_letter(self._table, primary, replay, claim)
                )
            except BackendRejectedError as error:
                if error.code != _CONDITION_FAILED:
                    raise
            else:
                return Claimed.YES
            item = (await self._transport.call("GetItem", requests.get_dead_letter(self._table, primary))).get("Item")
            if not item:
                return Claimed.GONE
            reason = claimable(mark, read_mark(item), read_claim(item), claim)
            if reason is not Claimed.YES:
                return reason
        raise BackendUnavailableError(f"{self._table}: a dead letter of {key.subject} keeps changing")

    async def _mark(self, key: DeadLetterKey, mark: ReplayMark) -> None:
        request = requests.mark_dead_letter(self._table, dead_letter_key(key), mark_text(mark))
        try:
            await self._transport.call("UpdateItem", request)
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:  # it was deleted
                raise

    async def _discard(self, key: DeadLetterKey) -> None:
        response = await self._transport.call(
            "DeleteItem", requests.delete_dead_letter(self._table, dead_letter_key(key))
        )
        pk = parts_of(response["Attributes"]) if response.get("Attributes") else None
        if pk is not None:
            async for part in read_query(self._transport, requests.parts_query(self._table, pk)):
                await self._transport.call("DeleteItem", requests.delete_part(self._table, part))

    async def _record_hour(self, hour: Item) -> None:
        name = hour["sk"]["S"]
        if name in self._known_hours:
            return
        try:
            await self._transport.call("PutItem", requests.put_longer(self._table, hour))
        except BackendRejectedError as error:
            if error.code != _CONDITION_FAILED:
                raise
        if len(self._known_hours) >= _MAX_KNOWN_HOURS:
            self._known_hours.clear()
        self._known_hours.add(name)

    async def _candidates(self, wanted: DeadLetterFilter, *, newest_first: bool) -> AsyncGenerator[Item, None]:
        window = keys.dead_letters_window(wanted)
        if window.empty:
            return

        def query(pk: str, index: str | None = None) -> Mapping[str, object]:
            return requests.query(self._table, pk, window, index, newest_first=newest_first)

        if wanted.subject is not None:
            entries = read_query(self._transport, query(keys.token(wanted.subject), SUBJECT_INDEX))
        else:
            target = wanted.target

            def of_hour(hour: str) -> Mapping[str, object]:
                return query(hour) if target is None else query(keys.target_hour_pk(target, hour), TARGET_INDEX)

            hours = self._hours(wanted, newest_first=newest_first)
            entries = read_partitions(self._transport, hours, of_hour, newest_first=newest_first)
            if target is not None:
                shards = [query(keys.target_pk(target, shard), TARGET_INDEX) for shard in range(keys.SHARDS)]
                entries = read_merged(self._transport, shards, entries, newest_first=newest_first)
        if wanted.subject is not None or wanted.target is not None:
            entries = fetch_items(self._transport, self._table, self._filter_entries(entries, wanted))
        async with aclosing(entries):
            async for item in entries:
                yield item

    async def _hours(self, wanted: DeadLetterFilter, *, newest_first: bool) -> AsyncGenerator[str, None]:
        query = requests.query(self._table, keys.HOURS_PK, keys.hours_window(wanted), newest_first=newest_first)
        async with aclosing(read_query(self._transport, query)) as hours:
            async for hour in hours:
                if wanted.target is not None and not has_target_by_hour(hour):
                    continue
                # Dead letters that were stored under a longer retention are found where a time is named.
                if wanted.since is not None or may_have_dead_letters(hour, self._retention_days, self._clock.now_ms()):
                    yield hour["sk"]["S"]

    async def _filter_entries(
        self, entries: AsyncIterator[Item], wanted: DeadLetterFilter
    ) -> AsyncGenerator[Item, None]:
        async for entry in entries:
            error_class = entry.get("errorClass", {}).get("S")
            expected = {None, error_class, class_of_key(error_class or "")}
            if wanted.error_class in expected and not is_expired(entry, self._clock.now_ms()):
                yield entry

    async def _read(self, item: Item) -> DeadLetter:
        pk = parts_of(item)
        if pk is None:
            return read_dead_letter(item)
        parts = read_query(self._transport, requests.parts_query(self._table, pk))
        return read_dead_letter(item, [part async for part in parts])


async def _gather_bounded(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    limit = asyncio.Semaphore(_CONCURRENT_WRITES)

    async def one(call: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await call

    results = await asyncio.gather(*map(one, calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
