"""Reads items of many partitions in order of time, page by page, with bounded concurrency and memory."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from chaski_aws.dynamodb import keys, requests
from chaski_aws.dynamodb.table import Item
from chaski_aws.http.transport import AwsTransport, CallLimits
from chaski_core.errors import BackendUnavailableError
from chaski_core.retry.backoff import Backoff

MAX_OPEN_PARTITIONS = 16  # concurrent queries, and pages of at most 1 MB in memory
# A response has at most 1 MB by DynamoDB's count (Query), or the items of a batch; one byte can take six in JSON.
_QUERY_LIMITS = CallLimits(seconds=20.0, response_bytes=8_388_608)
_BATCH_LIMITS = CallLimits(seconds=20.0, response_bytes=67_108_864)
_MAX_UNPROCESSED_ROUNDS = 10
_FIRST_PAGE, _PAGE_GROWTH, _LARGEST_PAGE = 32, 4, 32_768  # items; a page ends at 1 MB too
_BACKOFF = Backoff(first_seconds=0.05, longest_seconds=2.0)


async def read_query(transport: AwsTransport, query: Mapping[str, Any]) -> AsyncGenerator[Item, None]:
    """The items of one query, page by page."""
    partition = _Partition(transport, query)
    try:
        while (item := await partition.pop()) is not None:
            yield item
    finally:
        await partition.close()


async def read_partitions(
    transport: AwsTransport,
    partitions: AsyncIterator[str],
    query: Callable[[str], Mapping[str, Any]],
    *,
    newest_first: bool = False,
) -> AsyncGenerator[Item, None]:
    """The items of many partitions in the order of their sort keys.

    Args:
        transport: makes the calls.
        partitions: `<hour>#<shard>`, sorted. No item of an hour is older than one of the hour before.
        query: the query for a partition.
        newest_first: the order of `partitions` and of each query's items, and so of all.
    """
    opened: deque[list[_Partition]] = deque()
    hours = _hours(partitions)
    try:
        more = True
        while more or opened:
            while more and (not opened or sum(map(len, opened)) < MAX_OPEN_PARTITIONS):
                hour = await anext(hours, None)
                more = hour is not None
                opened.append([_Partition(transport, query(each)) for each in hour or ()])
            async with aclosing(_merged(opened[0], newest_first=newest_first)) as items:
                async for item in items:
                    yield item
            opened.popleft()
    finally:
        for hour_opened in opened:
            for partition in hour_opened:
                await partition.close()
        await hours.aclose()


async def read_merged(
    transport: AwsTransport,
    queries: Sequence[Mapping[str, Any]],
    others: AsyncGenerator[Item, None],
    *,
    newest_first: bool = False,
) -> AsyncGenerator[Item, None]:
    """The items of some queries and of `others`, all in the order of their sort keys."""
    partitions: list[_Partition | _Others] = [_Partition(transport, query) for query in queries]
    partitions.append(_Others(others))
    try:
        async with aclosing(_merged(partitions, newest_first=newest_first)) as items:
            async for item in items:
                yield item
    finally:
        for partition in partitions:
            await partition.close()


async def fetch_items(transport: AwsTransport, table: str, entries: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
    """The whole items of an index's entries, in the same order; those deleted meanwhile are left out."""
    group: list[Item] = []
    async for entry in entries:
        group.append(entry)
        if len(group) == requests.MAX_BATCH_KEYS:
            for item in await _get_all(transport, table, group):
                yield item
            group = []
    if group:
        for item in await _get_all(transport, table, group):
            yield item


async def _get_all(transport: AwsTransport, table: str, entries: list[Item]) -> list[Item]:
    found: dict[keys.Key, Item] = {}
    request = requests.batch_get(table, entries)
    for tries in range(1, _MAX_UNPROCESSED_ROUNDS + 1):
        response = await transport.call("BatchGetItem", request, _BATCH_LIMITS)
        items = response.get("Responses", {}).get(table, [])
        found.update((_key(item), item) for item in items)
        unprocessed = response.get("UnprocessedKeys")
        if not unprocessed:
            return [found[key] for key in map(_key, entries) if key in found]
        request = {"RequestItems": unprocessed}
        if not items:  # throttled; otherwise the response was full
            await asyncio.sleep(_BACKOFF.equal_jitter(tries, random.random()))  # noqa: S311 - not a secret
    raise BackendUnavailableError(f"{table}: DynamoDB left keys of a batch unprocessed {_MAX_UNPROCESSED_ROUNDS} times")


def _key(item: Item) -> keys.Key:
    return keys.Key(item["sk"]["S"], item["pk"]["S"])


async def _hours(partitions: AsyncIterator[str]) -> AsyncGenerator[list[str], None]:
    group: list[str] = []
    async for each in partitions:
        if group and keys.hour_of_partition(each) != keys.hour_of_partition(group[0]):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


async def _merged(partitions: Sequence["_Partition | _Others"], *, newest_first: bool) -> AsyncGenerator[Item, None]:
    heads: dict[int, Item] = {}  # at most one for each partition
    for number, partition in enumerate(partitions):
        if (item := await partition.pop()) is not None:
            heads[number] = item
    choose = max if newest_first else min
    while heads:
        number = choose(heads, key=lambda each: heads[each]["sk"]["S"])
        yield heads.pop(number)
        if (following := await partitions[number].pop()) is not None:
            heads[number] = following


class _Others:
    """Items from elsewhere, as a partition."""

    def __init__(self, items: AsyncGenerator[Item, None]) -> None:
        self._items = items

    async def pop(self) -> Item | None:
        """The next item; None at the end."""
        return await anext(self._items, None)

    async def close(self) -> None:
        """Cancels pending requests."""
        await self._items.aclose()


class _Partition:
    """The items of one query. The first page is requested at once, later ones when they are needed.

    Most searches end after a few items, so the first page is small, and each one four times as large as the one before.
    """

    def __init__(self, transport: AwsTransport, query: Mapping[str, Any]) -> None:
        self._transport = transport
        self._query = query
        self._items: deque[Item] = deque()
        self._after: Mapping[str, Any] | None = None  # where the next page begins
        self._limit = _FIRST_PAGE
        self._page: asyncio.Task[Mapping[str, Any]] | None = asyncio.create_task(self._request_page())

    async def pop(self) -> Item | None:
        """The next item; None at the end."""
        while not self._items:
            if self._page is None:
                if not self._after:
                    return None
                self._page = asyncio.create_task(self._request_page())
            page = await self._page
            self._page = None
            self._items.extend(page.get("Items", ()))
            self._after = page.get("LastEvaluatedKey")
        return self._items.popleft()

    async def close(self) -> None:
        """Cancels a pending request."""
        if self._page is not None:
            self._page.cancel()
            await asyncio.gather(self._page, return_exceptions=True)

    async def _request_page(self) -> Mapping[str, Any]:
        start = {"ExclusiveStartKey": self._after} if self._after else {}
        limit, self._limit = self._limit, self._limit * _PAGE_GROWTH
        query = {**self._query, **start, "Limit": min(limit, _LARGEST_PAGE)}
        page: Mapping[str, Any] = await self._transport.call("Query", query, _QUERY_LIMITS)
        return page
