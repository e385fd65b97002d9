"""Addresses of names, remembered for some seconds."""

import asyncio
import functools
import ipaddress
import socket
from collections import Counter, deque
from collections.abc import Iterable

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

DNS_CACHE_SECONDS = 10
"""How long the addresses of a name are used without another lookup."""

ADDRESSES_PER_FAMILY = 16
"""The most addresses of a name that are used; its owner may answer with thousands, each of which would be judged and dialled."""

_REMEMBERED_NAMES = 1_000
_Key = tuple[str, int]


class Lookups:
    """Looks names up. Callers that want the same name at the same time share a lookup. Needs a running loop.

    Args:
        resolver: looks up; not closed here.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._found: dict[_Key, tuple[float, deque[AddrInfoType]]] = {}  # loop time at which they are forgotten
        self._running: dict[_Key, asyncio.Task[list[ResolveResult]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """The addresses of a host, as arguments for sockets; starting with another one at each call.

        Args:
            host: a name, or an address without brackets.
            port: goes into the addresses.

        Raises:
            OSError: the name has none.
            ValueError: an address in digits that is not in its usual form, which resolvers would accept.
            Exception: the resolver's own.
        """
        if ":" in host or host.replace(".", "").isdigit():
            ipaddress.ip_address(host)  # raises ValueError
            return [_info(host, port)]
        key = host, port
        until, found = self._found.get(key, (0.0, None))
        if found is None or self._loop.time() >= until:
            found = await self._look_up(key)
        chosen = list(found)
        found.rotate(-1)
        return chosen

    def forget(self) -> None:
        """The next lookup of every name is a new one."""
        self._found.clear()

    def close(self) -> None:
        """Cancels the lookups under way."""
        for task in self._running.values():
            task.cancel()

    async def _look_up(self, key: _Key) -> deque[AddrInfoType]:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._resolver.resolve(*key))
            task.add_done_callback(functools.partial(self._looked_up, key))
        results = await asyncio.shield(task)  # a caller that gives up does not end the lookup of the others
        until, found = self._found.get(key, (0.0, None))
        if found is None or self._loop.time() >= until:  # forgotten meanwhile
            found = _usable(results)
        return found

    def _looked_up(self, key: _Key, task: asyncio.Task[list[ResolveResult]]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._found.pop(key, None)
        if len(self._found) >= _REMEMBERED_NAMES:
            del self._found[next(iter(self._found))]  # the oldest
        self._found[key] = self._loop.time() + DNS_CACHE_SECONDS, _usable(task.result())


def _usable(results: Iterable[ResolveResult]) -> deque[AddrInfoType]:
    """The first addresses of each family, in their order."""
    counts = Counter[int]()
    found = deque[AddrInfoType]()
    for result in results:
        info = _info(result["host"], result["port"])
        counts[info[0]] += 1
        if counts[info[0]] <= ADDRESSES_PER_FAMILY:
            found.append(info)
    return found


def _info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
