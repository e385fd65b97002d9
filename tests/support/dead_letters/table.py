"""Fills a route's table with dead letters, quickly: the items that the store writes, 25 in a call, several calls at once."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from chaski_aws.dynamodb.items import stored_letter
from chaski_aws.dynamodb.queries import Caller
from chaski_aws.dynamodb.values import Item
from chaski_core.dead_letter import DeadLetter

_IN_A_CALL = 25  # the most that BatchWriteItem takes
_CALLS_AT_ONCE = 4


async def fill(caller: Caller, table: str, letters: Iterable[DeadLetter], retention_days: int) -> None:
    """Keeps dead letters that are not there yet. A large part of the time is the stand-in's own."""
    items = _items(letters, retention_days)

    async def write() -> None:
        while chunk := list(islice(items, _IN_A_CALL)):
            request: dict[str, Any] = {"RequestItems": {table: [{"PutRequest": {"Item": item}} for item in chunk]}}
            answer = await caller.call("BatchWriteItem", request)
            assert not answer.get("UnprocessedItems"), answer

    await asyncio.gather(*(write() for _ in range(_CALLS_AT_ONCE)))


def _items(letters: Iterable[DeadLetter], retention_days: int) -> Iterator[Item]:
    hours: set[str] = set()
    for letter in letters:
        stored = stored_letter(letter, retention_days)
        name = stored.hour["sk"]["S"]
        if name not in hours:
            hours.add(name)
            yield stored.hour
        yield from stored.parts
        yield stored.letter
