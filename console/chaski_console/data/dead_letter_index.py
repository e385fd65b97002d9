"""Dead letters of all routes, from one store or from several: on AWS each route has its own table."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol, TypeVar

from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.errors import BackendError

_CONCURRENT_CALLS = 16
_A = TypeVar("_A")
_B = TypeVar("_B")


class ReadableStore(Protocol):
    """The part of `ports.DeadLetterStore` that reads."""

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        """The dead letters that match, oldest first."""
        ...

    async def get(self, message_id: str) -> Sequence[DeadLetter]:
        """The dead letters of an identity, its replays, or a label, oldest first."""
        ...


class SingleStore:
    """Implements `views.DeadLetters` over one store that holds the dead letters of all routes."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store

    def find(self, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
        return self._store.find(wanted)

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        return [dead_letter for dead_letter in await self._store.get(message_id) if route in (None, dead_letter.route)]


class CombinedDeadLetters:
    """Implements `views.DeadLetters` over one store per route. A store that fails hides only its own dead letters."""

    def __init__(self, stores: Callable[[], Mapping[str, ReadableStore]]) -> None:
        """`stores`: returns the current stores by route."""
        self._stores = stores
        self._errors: dict[str, BackendError] = {}

    def unreadable(self) -> Mapping[str, str]:
        """Routes whose store failed at the last call, and why."""
        return {route: str(error) for route, error in sorted(self._errors.items())}

    async def find(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter, None]:
        """Merges the stores by time; reads only the store of the route if the filter names one.

        Raises:
            BackendError: every store failed.
        """
        stores = {route: store for route, store in self._stores().items() if wanted.route in (None, route)}
        async with AsyncExitStack() as stack:
            sources = {
                route: await stack.enter_async_context(aclosing(store.find(wanted)))  # type: ignore[type-var]  # every store's is a generator
                for route, store in stores.items()
            }
            firsts = await self._call_each(sources, lambda source: anext(source, None))
            heads = [
                (dead_letter.dead_lettered_at, route, dead_letter)
                for route, dead_letter in firsts.items()
                if dead_letter
            ]
            heapq.heapify(heads)
            while heads:
                _, route, dead_letter = heads[0]
                yield dead_letter
                following = await self._next(route, sources[route])
                if following is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (following.dead_lettered_at, route, following))

    async def get(self, message_id: str, route: str | None = None) -> Sequence[DeadLetter]:
        """As `views.DeadLetters.get`.

        Raises:
            BackendError: every store failed.
        """
        stores = {each: store for each, store in self._stores().items() if route in (None, each)}
        results = await self._call_each(stores, lambda store: store.get(message_id))
        found = [dead_letter for dead_letters in results.values() for dead_letter in dead_letters]
        return sorted(found, key=lambda dead_letter: dead_letter.dead_lettered_at)

    async def _next(self, route: str, source: AsyncIterator[DeadLetter]) -> DeadLetter | None:
        try:
            return await anext(source, None)
        except BackendError as error:
            self._errors[route] = error
            return None

    async def _call_each(self, by_route: Mapping[str, _A], call: Callable[[_A], Awaitable[_B]]) -> dict[str, _B]:
        """Calls each, a few at a time; returns the results of those that did not fail."""
        limit = asyncio.Semaphore(_CONCURRENT_CALLS)

        async def limited(each: _A) -> _B | BackendError:
            async with limit:
                try:
                    return await call(each)
                except BackendError as error:
                    return error

        results = dict(zip(by_route, await asyncio.gather(*map(limited, by_route.values())), strict=True))
        failed = {route: each for route, each in results.items() if isinstance(each, BackendError)}
        known = self._stores()
        self._errors = {
            route: error for route, error in self._errors.items() if route in known and route not in by_route
        }
        self._errors |= failed
        if failed and len(failed) == len(by_route):
            raise next(iter(failed.values()))
        return {route: each for route, each in results.items() if not isinstance(each, BackendError)}
