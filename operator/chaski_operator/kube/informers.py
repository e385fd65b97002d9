"""Keeps the cache in sync with one namespace, or with all: a listing, then kopf's watch, and listings from time to time.

Each namespace has its own informer, so one in which the operator was denied its rights, or that hangs, stops no other. A
kind that can't be listed is reported, not watched, and tried again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from chaski_core.ports import Clock
from chaski_core.retry.backoff import Backoff
from chaski_operator.kube.cache import ObjectCache, is_kept, used_part, version_number
from chaski_operator.kube.kopf_watch import run_watch
from chaski_operator.manifests.kinds import DEPLOYMENT, KINDS, POD, REPLAY, ROUTE, Kind, Object
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path

_log = logging.getLogger(__name__)

# Without its Deployments it is not known whether old workers of a route still run, so nothing may be reconciled. What is known
# of the other kinds that a route owns only saves requests.
_REQUIRED = frozenset((ROUTE, DEPLOYMENT))
# In this order: once routes are reconciled, what they own is known.
_ALL = (*KINDS, ROUTE, REPLAY, POD)
_PAGE_SIZE = 12  # objects in one response: every author of objects can make some of 1.5 MB with these labels
_BACKOFF = Backoff(first_seconds=5.0, longest_seconds=30.0)  # of listings and watches that fail
_RESTART_SECONDS, _SHORTEST_WATCH_SECONDS = 1.0, 60.0  # a watch that ends sooner has failed
_OPTIONAL_RETRY_SECONDS = 30.0
# A new watch is followed by a listing this soon: kopf lists by itself, and what was deleted between the first listing and
# its own is in neither.
_SETTLE_SECONDS = 10.0
_LAG_SECONDS = 2.0  # within which a watch reports what a listing contains already
_MORE_KINDS = "more kinds can be listed now"
_RIGHTS = "give the operator the rights of the chart's Role there, or no longer serve the namespace (--namespace)"
_LISTINGS_AT_ONCE = 4  # each holds the objects of one kind and namespace


@dataclass(frozen=True, slots=True)
class ListingSlots:
    """Bounds the listings of all informers together. Those that fail have slots of their own.

    A listing that hangs so delays those of other namespaces once, by at most the client's timeout, and only where more
    than three others hang for the first time too.
    """

    usual: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LISTINGS_AT_ONCE))
    failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LISTINGS_AT_ONCE))


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
        slots: ListingSlots,
        resync_seconds: float,
        clock: Clock,
    ) -> None:
        """Makes no call yet.

        Args:
            api: the API server.
            cache: to be kept in sync.
            namespace: None: all.
            on_change: called for each object that was added, changed or deleted, after the first listing. Where only
                routes can be listed, as in a namespace that is being deleted, only for those that are being deleted.
            on_started: as for `run_watch`.
            slots: shared by all informers.
            resync_seconds: between two listings.
            clock: time.
        """
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._on_change = on_change
        self._on_started = on_started
        self._slots = slots
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._events: Counter[Kind] = Counter()  # since the last listing
        self._failures: dict[Kind, str] = {}  # why a kind can't be listed
        self._versions: dict[Kind, int] = {}  # of the last listing
        self._watch_failure: str | None = None  # why the last watch ended; None: it lasts
        self._watch_began: float | None = None  # monotonic; None: there is none
        self._seen_at: float | None = None  # monotonic: when the watch was last known to work
        self.listed_at: float | None = None  # monotonic: last listing of this run with all that routes need

    @property
    def place(self) -> str:
        """The namespace; `*` for all."""
        return self._namespace or "*"

    def age_seconds(self) -> float | None:
        """Seconds since the watch was last known to work, or since the start of `run`; None while it does not run."""
        return None if self._seen_at is None else self._clock.monotonic() - self._seen_at

    def is_available(self) -> bool | None:
        """Whether all kinds can be listed and the watch lasts; None while it does not run."""
        if self._seen_at is None:
            return None
        began = self._watch_began
        lasts = began is not None and self._clock.monotonic() - began >= _SHORTEST_WATCH_SECONDS
        return not self._failures and (lasts or self._watch_failure is None)

    async def run(self) -> None:
        """Follows until cancelled; never raises for an error of the API server."""
        self._seen_at = self._clock.monotonic()
        try:
            await self._follow()
        finally:
            self._seen_at = self.listed_at = self._watch_failure = None
            self._failures.clear()

    async def _follow(self) -> None:
        failures = 0
        while True:
            found = await self._list_kinds(_ALL)
            if not found.keys() >= _REQUIRED:
                failures += 1
                self._report_all(ROUTE, only_deleted=True)
                await asyncio.sleep(_BACKOFF.seconds(failures))
                continue
            for kind in (ROUTE, REPLAY):
                self._report_all(kind)
            began = self._watch_began = self._clock.monotonic()
            cause = await self._watch(found.keys())
            self._watch_began = None
            if self._clock.monotonic() - began >= _SHORTEST_WATCH_SECONDS:
                failures, self._watch_failure = 0, None
            if cause == _MORE_KINDS:
                _log.info("%s: %s", self._where, cause)
            elif cause != self._watch_failure:
                _log.warning("%s: restarting the watch: %s", self._where, cause)
                self._watch_failure = cause
            failures += 1
            await asyncio.sleep(_RESTART_SECONDS if failures == 1 else _BACKOFF.seconds(failures - 1))

    def _report_all(self, kind: Kind, *, only_deleted: bool = False) -> None:
        for key, each in list(self._cache.by_key(kind).items()):
            if self._namespace not in (None, key[0]):
                continue
            if not only_deleted or each["metadata"].get("deletionTimestamp"):
                self._on_change(kind, each)

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
        is_change = self._cache.remove if type_ == "DELETED" else self._cache.put
        if is_change(kind, document):  # else known already, such as the operator's own write, or no route's
            self._on_change(kind, document)

    # ---- listings

    async def _resync(self, watched: Sequence[Kind]) -> str | None:
        """Lists everything; returns why the watch must be started again, None if it has missed nothing."""
        before = dict(self._versions)
        found = await self._list_kinds(_ALL)
        reset = [kind for kind in watched if kind in found and self._versions[kind] < before.get(kind, 0)]
        missed = [kind for kind in watched if found.get(kind) and not self._events[kind]]
        if missed and not reset:
            await asyncio.sleep(_LAG_SECONDS)
            missed = [kind for kind in missed if not self._events[kind]]
        self._events.clear()
        if reset:
            return "the versions of objects are lower than before: etcd was restored from a backup"
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
        unavailable = 0  # in a row
        for kind in kinds:
            slots = self._slots.failing if self._failures else self._slots.usual
            try:
                async with slots:
                    found[kind] = await self._list(kind)
            except KubeRefusedError as error:
                is_missing = error.status == 404
                self._on_failure(kind, "its CRD is not installed; install it" if is_missing else f"{error}; {_RIGHTS}")
            except KubeApiError as error:
                unavailable += 1
                self._on_failure(kind, f"{error}; trying again")
                if unavailable == 2:
                    break  # not only this kind is unavailable, but the API server
                continue
            else:
                self._on_success(kind)
            unavailable = 0
        if found.keys() >= _REQUIRED:
            self.listed_at = self._clock.monotonic()
        if self.listed_at is not None:
            for kind, changes in found.items():
                for each in changes:
                    self._on_change(kind, each)
        return found

    async def _list(self, kind: Kind) -> list[Object]:
        with self._cache.listing(kind, self._namespace) as listing:
            version, documents = await self._pages(kind)
            changes = self._cache.replace(listing, documents)
        self._versions[kind] = version
        return changes

    async def _pages(self, kind: Kind) -> tuple[int, list[Object]]:
        """The version of the collection, and its objects."""
        query = {"limit": str(_PAGE_SIZE)} | ({"labelSelector": kind.selector} if kind.selector else {})
        documents: list[Object] = []
        while True:
            page = await self._api.get(object_path(kind.api_version, kind.plural, self._namespace), **query)
            after, items = page["metadata"].get("continue"), page.pop("items")
            while items:
                item = items.pop()
                if is_kept(kind, item):
                    documents.append(used_part(kind, item))
            if not after:
                return version_number(page), documents
            query["continue"] = after

    def _on_failure(self, kind: Kind, reason: str) -> None:
        if self._failures.get(kind) != reason:
            _log.warning("%s: can't list %s: %s", self._where, kind.plural, reason)
        self._failures[kind] = reason

    def _on_success(self, kind: Kind) -> None:
        if self._failures.pop(kind, None) is not None:
            _log.info("%s: %s can be listed again", self._where, kind.plural)
