"""The dead letters of several stores as one: each route on AWS has a table of its own."""

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from chaski_core.deadletter import DeadLetter, DeadLetterFilter


class Store(Protocol):
    """Finds dead letters."""

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Those that pass the filter, oldest first."""
        ...

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every one of a message id, oldest first."""
        ...


class MergedLetters:
    """Implements `views.Letters` over the stores of routes."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        """`stores`: by route."""
        self._stores = stores

    async def find(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """Those that pass the filter, oldest first; only the store of the route is asked where one is named."""
        stores = [store for route, store in self._stores.items() if wanted.route in (None, route)]
        async with AsyncExitStack() as stack:
            sources = [await stack.enter_async_context(aclosing(store.find(wanted))) for store in stores]  # type: ignore[type-var]  # every store's is a generator
            heads: list[tuple[int, int, DeadLetter]] = []
            for number, source in enumerate(sources):
                async for letter in source:
                    heads.append((letter.dead_lettered_at, number, letter))
                    break
            heapq.heapify(heads)
            while heads:
                _, number, letter = heads[0]
                yield letter
                following = await anext(sources[number], None)
                if following is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (following.dead_lettered_at, number, following))

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every one of a message id, oldest first."""
        found = [letter for store in self._stores.values() for letter in await store.get(message_id)]
        return sorted(found, key=lambda letter: letter.dead_lettered_at)
