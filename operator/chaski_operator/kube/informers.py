"""Keeps the cache in sync with one namespace, or with all: a listing, then kopf's watch, and listings from time to time.

Each namespace has its own informer, so one in which the operator was denied its rights, or whose watch hangs, stops no
other. What can't be listed is not watched; it is tried again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

from chaski_core.ports import Clock
from chaski_operator.kube.cache import ObjectCache, used_part
from chaski_operator.kube.kopf_watch import run_watch
from chaski_operator.manifests.kinds import KINDS, POD, REPLAY, ROUTE, Kind, Object
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path

_log = logging.getLogger(__name__)

_REQUIRED = frozenset((*KINDS, ROUTE))
# In this order: once routes are reconciled, what they own is known. Without the CRD of replays, or the right to read them or
# Pods, routes are reconciled all the same.
_ALL = (*KINDS, ROUTE, REPLAY, POD)
_PAGE_SIZE = 200  # objects in one response: a few hundred KiB
_RETRY_SECONDS = 5.0
_RESTART_SECONDS, _SHORTEST_WATCH_SECONDS = 1.0, 60.0  # a watch that ends sooner is likely to do so again
_OPTIONAL_RETRY_SECONDS = 30.0
# A new watch is followed by a listing this soon: kopf lists by itself, and what was deleted between the first listing and
# its own is in neither.
_SETTLE_SECONDS = 10.0
_LAG_SECONDS = 2.0  # within which a watch reports what a listing contains already
_MORE_KINDS = "more kinds can be listed now"


class Informer:
    """Follows the objects of one namespace, or of all. Call `run` once for each acquisition of the Lease."""

    def __init__(  # noqa: PLR0913 - what it follows, how, and the callbacks
        self,
        api: KubeApi,
        cache: ObjectCache,
        namespace: str | None,
        *,
        on_change: Callable[[Kind, Object], None],
        on_started: Callable[[], None],
        listings: asyncio.Semaphore,
        resync_seconds: float,
        clock: Clock,
    ) -> None:
        """Makes no call yet.

        Args:
            api: the API server.
            cache: to be kept in sync.
            namespace: None: all.
            on_change: called for each object that was added, changed or deleted, after the first listing.
            on_started: as for `run_watch`.
            listings: bounds the listings of all informers together.
            resync_seconds: between two listings.
            clock: time.
        """
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._on_change = on_change
        self._on_started = on_started
        self._listings = listings
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._events: Counter[Kind] = Counter()  # since the last listing
        self._failures: dict[Kind, str] = {}  # why a kind can't be listed
        self._seen_at: float | None = None  # monotonic: when the watch was last known to work
        self.listed_at: float | None = None  # monotonic: last listing of this run with all that routes need

    def age_seconds(self) -> float | None:
        """Seconds since the watch was last known to work, or since the start of `run`; None while it does not run."""
        return None if self._seen_at is None else self._clock.monotonic() - self._seen_at

    async def run(self) -> None:
        """Follows until cancelled; never raises for an error of the API server."""
        self._seen_at = self._clock.monotonic()
        try:
            await self._follow()
        finally:
            self._seen_at = self.listed_at = None

    async def _follow(self) -> None:
        while True:
            found = await self._list_kinds(_ALL)
            if not found.keys() >= _REQUIRED:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for kind in (ROUTE, REPLAY):
                for key, each in list(self._cache.by_key(kind).items()):
                    if self._namespace in (None, key[0]):
                        self._on_change(kind, each)
            began = self._clock.monotonic()
            cause = await self._watch(found.keys())
            _log.warning("%s: restarting the watch: %s", self._where, cause)
            is_short = self._clock.monotonic() - began < _SHORTEST_WATCH_SECONDS
            await asyncio.sleep(_RETRY_SECONDS if is_short else _RESTART_SECONDS)

    @property
    def _where(self) -> str:
        return "all namespaces" if self._namespace is None else f"namespace {self._namespace}"

    # ---- watch

    async def _watch(self, kinds: Collection[Kind]) -> str:
        """Watches these kinds, and lists from time to time; returns why the watch must be started again."""
        ordered = [kind for kind in _ALL if kind in kinds]
        missing = [kind for kind in _ALL if kind not in kinds]
        self._events.clear()
        run = run_watch(self._api.access, self._namespace, ordered, self._on_event, self._on_started)
        watch = asyncio.create_task(run, name=f"watch of {self._where}")
        due = self._clock.monotonic() + min(self._resync_seconds, _SETTLE_SECONDS)
        try:
            while True:
                pause = max(0.0, due - self._clock.monotonic())
                await asyncio.wait({watch}, timeout=min(pause, _OPTIONAL_RETRY_SECONDS) if missing else pause)
                if watch.done():
                    return repr(watch.exception())
                reason: str | None = None
                if self._clock.monotonic() >= due:
                    reason = await self._resync(ordered)
                    due = self._clock.monotonic() + self._resync_seconds
                elif await self._list_kinds(missing):
                    reason = _MORE_KINDS
                if reason is not None:
                    return reason
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _on_event(self, kind: Kind, type_: str | None, document: Object) -> None:
        self._seen_at = self._clock.monotonic()
        self._events[kind] += 1
        if type_ == "DELETED":
            self._cache.remove(kind, document)
        elif not self._cache.put(kind, document):
            return  # known already: the operator's own write, for example
        self._on_change(kind, document)

    # ---- listings

    async def _resync(self, watched: Sequence[Kind]) -> str | None:
        """Lists everything; returns why the watch must be started again, None if it has missed nothing."""
        found = await self._list_kinds(_ALL)
        missed = [kind for kind in watched if found.get(kind) and not self._events[kind]]
        if missed:
            await asyncio.sleep(_LAG_SECONDS)
            missed = [kind for kind in missed if not self._events[kind]]
        self._events.clear()
        if missed:
            return f"it missed changes of {', '.join(kind.plural for kind in missed)}"
        if found.keys() - set(watched):
            return _MORE_KINDS
        if found.keys() >= set(watched):
            self._seen_at = self._clock.monotonic()
        return None

    async def _list_kinds(self, kinds: Sequence[Kind]) -> dict[Kind, list[Object]]:
        """Lists these kinds and reports changes; returns the changes by kind that could be listed."""
        found: dict[Kind, list[Object]] = {}
        for kind in kinds:
            try:
                async with self._listings:
                    found[kind] = await self._list(kind)
            except KubeRefusedError as error:
                self._on_failure(kind, "its CRD is not installed" if error.status == 404 else str(error))
            except KubeApiError as error:
                self._on_failure(kind, str(error))
                break  # the API server is unavailable
            else:
                self._on_success(kind)
        if found.keys() >= _REQUIRED:
            self.listed_at = self._clock.monotonic()
        if self.listed_at is not None:
            for kind, changes in found.items():
                for each in changes:
                    self._on_change(kind, each)
        return found

    async def _list(self, kind: Kind) -> list[Object]:
        with self._cache.listing(kind, self._namespace) as listing:
            return self._cache.replace(listing, [used_part(kind, each) async for each in self._pages(kind)])

    async def _pages(self, kind: Kind) -> AsyncIterator[dict[str, Any]]:
        query = {"limit": str(_PAGE_SIZE)} | ({"labelSelector": kind.selector} if kind.selector else {})
        while True:
            page = await self._api.get(object_path(kind.api_version, kind.plural, self._namespace), **query)
            for each in page["items"]:
                yield each
            after = page["metadata"].get("continue")
            if not after:
                return
            query["continue"] = after

    def _on_failure(self, kind: Kind, reason: str) -> None:
        if self._failures.get(kind) != reason:
            _log.warning("%s: can't list %s: %s", self._where, kind.plural, reason)
        self._failures[kind] = reason

    def _on_success(self, kind: Kind) -> None:
        if self._failures.pop(kind, None) is not None:
            _log.info("%s: %s can be listed again", self._where, kind.plural)
