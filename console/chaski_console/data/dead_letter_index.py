"""The dead letters of several stores as one: each route on AWS has a table of its own."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol, TypeVar

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendError

_STORES_SIDE_BY_SIDE = 16
_A = TypeVar("_A")
_B = TypeVar("_B")


class Store(Protocol):
    """Finds dead letters."""

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Those that pass the filter, oldest first."""
        ...

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """Every one of an identity, its replays, or a label, oldest first."""
        ...


class SingleStore:
    """Implements `views.Letters` over a store that holds the letters of all routes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """Those that pass the filter, oldest first."""
        return self._store.find(wanted)

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        """Every one of an identity, its replays, or a label, on that route or on any, oldest first."""
        return [letter for letter in await self._store.get(message_id) if route in (None, letter.route)]


class CombinedDeadLetters:
    """Implements `views.Letters` over the stores of routes. One that fails leaves out its own letters only."""

    def __init__(self, stores: Callable[[], Mapping[str, Store]]) -> None:
        """`stores`: by route, those of now."""
        self._stores = stores
        self._faults: dict[str, BackendError] = {}

    def missing(self) -> Mapping[str, str]:
        """Routes whose store failed when it was last asked, and why."""
        return {route: str(error) for route, error in sorted(self._faults.items())}

    async def find(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """Those that pass the filter, oldest first; only the store of the route is asked where one is named.

        Raises:
            BackendError: no store could be read.
        """
        stores = {route: store for route, store in self._stores().items() if wanted.route in (None, route)}
        async with AsyncExitStack() as stack:
            sources = {
                route: await stack.enter_async_context(aclosing(store.find(wanted)))  # type: ignore[type-var]  # every store's is a generator
                for route, store in stores.items()
            }
            firsts = await self._of_each(sources, lambda source: anext(source, None))
            heads = [(letter.dead_lettered_at, route, letter) for route, letter in firsts.items() if letter]
            heapq.heapify(heads)
            while heads:
                _, route, letter = heads[0]
                yield letter
                following = await self._following(route, sources[route])
                if following is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (following.dead_lettered_at, route, following))

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        """Every one of an identity, its replays, or a label, on that route or on any, oldest first.

        Raises:
            BackendError: no store could be read.
        """
        stores = {each: store for each, store in self._stores().items() if route in (None, each)}
        answers = await self._of_each(stores, lambda store: store.get(message_id))
        found = [letter for letters in answers.values() for letter in letters]
        return sorted(found, key=lambda letter: letter.dead_lettered_at)

    async def _following(self, route: str, source: AsyncIterator[DeadLetter]) -> DeadLetter | None:
        try:
            return await anext(source, None)
        except BackendError as error:
            self._faults[route] = error
            return None

    async def _of_each(self, asked: Mapping[str, _A], ask: Callable[[_A], Awaitable[_B]]) -> dict[str, _B]:
        """What those answer that answer; a few at a time."""
        limit = asyncio.Semaphore(_STORES_SIDE_BY_SIDE)

        async def answer(each: _A) -> _B | BackendError:
            async with limit:
                try:
                    return await ask(each)
                except BackendError as error:
                    return error

        answers = dict(zip(asked, await asyncio.gather(*map(answer, asked.values())), strict=True))
        failed = {route: each for route, each in answers.items() if isinstance(each, BackendError)}
        known = self._stores()
        self._faults = {route: error for route, error in self._faults.items() if route in known and route not in asked}
        self._faults |= failed
        if failed and len(failed) == len(asked):
            raise next(iter(failed.values()))
        return {route: each for route, each in answers.items() if not isinstance(each, BackendError)}
