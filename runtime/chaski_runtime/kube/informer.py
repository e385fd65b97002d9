"""Mirrors the objects of one collection: a list, then a watch, until cancelled.

While the API server is unreachable the last state is kept; missed changes are reported once it answers again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from chaski_core.ports import Clock
from chaski_core.retry.backoff import Backoff
from chaski_runtime.kube.client import (
    KubeApi,
    KubeApiError,
    KubeUnavailableError,
    Object,
    WatchExpiredError,
    error_text,
)

_log = logging.getLogger(__name__)

_PAGE = "25"  # objects in one response, each of up to 1.5 MB: only the extracted part of a page outlives it
_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=30.0)
_SHORTEST_WATCH_SECONDS = 1.0  # a watch that ends sooner is followed by a pause

T = TypeVar("T")
Key = tuple[str, str]  # namespace ("" for cluster-wide objects), name
OnChange = Callable[[Key, T | None], None]  # None: it was deleted


class Informer(Generic[T]):
    """The objects of one collection. Call `run` once; read at any time."""

    def __init__(  # noqa: PLR0913 - what it follows, how, and the callback
        self,
        api: KubeApi,
        path: str,
        extract: Callable[[Object], T],
        clock: Clock,
        random: Callable[[], float],
        *,
        selector: str = "",
        on_change: OnChange[T] | None = None,
    ) -> None:
        """Makes no call yet.

        Args:
            api: the API server.
            path: of the collection, from `object_path`.
            extract: returns the part of an object that is kept.
            clock: time.
            random: a number from 0 to below 1, for jitter.
            selector: labels that the objects must have.
            on_change: called for each object that was added, changed or deleted.
        """
        self._api = api
        self._path = path
        self._extract = extract
        self._clock = clock
        self._random = random
        self._selector = selector
        self._on_change: OnChange[T] = on_change or (lambda _key, _kept: None)
        self._items: dict[Key, T] = {}
        self._versions: dict[Key, str] = {}
        self.synced = False  # a first list was read
        self.error: str | None = None  # why the API server can't be followed now; None: it is followed

    @property
    def items(self) -> Mapping[Key, T]:
        """The current objects."""
        return self._items

    async def run(self) -> None:
        """Follows until cancelled; never raises for an error of the API server."""
        failures = 0
        while True:
            try:
                version = await self._list()
                while True:
                    began = self._clock.monotonic()
                    version = await self._watch(version)
                    failures = 0
                    if self._clock.monotonic() - began < _SHORTEST_WATCH_SECONDS:
                        await self._pause(1, None)
            except WatchExpiredError as error:
                _log.info("%s: watch expired: %s; relisting", self._path, error_text(error))
                failures += 1
                if failures > 1:
                    await self._pause(failures, None)
            except (KubeApiError, ValueError, KeyError, TypeError) as error:  # a response may be malformed
                failures += 1
                self._on_failure(error_text(error))
                await self._pause(failures, error)

    async def _list(self) -> str:
        listed: dict[Key, tuple[str, T] | None] = {}  # version and extracted part; None: unchanged
        query = {"labelSelector": self._selector, "limit": _PAGE}
        while True:
            page = await self._api.get(self._path, **query)
            listed |= {_key(each): self._read(_key(each), each) for each in page.get("items") or ()}
            metadata = page["metadata"]
            del page
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        for key in [key for key in self._items if key not in listed]:
            self._remove(key)
        for key, read in listed.items():
            self._put(key, read)
        self.synced = True
        self._on_answer()
        return str(metadata["resourceVersion"])

    async def _watch(self, version: str) -> str:
        async for event in self._api.watch(self._path, version, labelSelector=self._selector):
            self._on_answer()
            changed = event["object"]
            newest = str(changed["metadata"]["resourceVersion"])
            if _is_older(newest, version):
                raise WatchExpiredError(f"version {newest} after {version}: etcd was restored from a backup")
            version = newest
            if event["type"] == "DELETED":
                self._remove(_key(changed))
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._put(_key(changed), self._read(_key(changed), changed))
        self._on_answer()
        return version

    def _read(self, key: Key, document: Object) -> tuple[str, T] | None:
        """Version and extracted part of an object; None if it is known already, or unreadable."""
        version = str(document["metadata"].get("resourceVersion", ""))
        if key in self._items and self._versions[key] == version:
            return None
        try:
            return version, self._extract(document)
        except Exception:  # noqa: BLE001 - one unreadable object must not stop the others
            _log.exception("%s: could not read %s/%s", self._path, *key)
            return None

    def _put(self, key: Key, read: tuple[str, T] | None) -> None:
        if read is not None:
            self._versions[key], self._items[key] = read
            self._notify(key, read[1])

    def _remove(self, key: Key) -> None:
        if key in self._items:
            del self._items[key], self._versions[key]
            self._notify(key, None)

    def _notify(self, key: Key, kept: T | None) -> None:
        try:
            self._on_change(key, kept)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("%s: could not handle a change of %s/%s", self._path, *key)

    def _on_answer(self) -> None:
        if self.error is not None:
            _log.info("%s: the API server answers again", self._path)
            self.error = None

    def _on_failure(self, reason: str) -> None:
        if self.error is None:
            _log.warning("%s: keeping the last state of %d objects: %s", self._path, len(self._items), reason)
        self.error = reason

    async def _pause(self, failures: int, error: Exception | None) -> None:
        retry_after = error.retry_after_seconds if isinstance(error, KubeUnavailableError) else None
        await asyncio.sleep((retry_after or 0.0) + _BACKOFF.equal_jitter(failures, self._random()))

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._items.values()))


def _is_older(version: str, other: str) -> bool:
    """Whether a version of an object or a collection comes before another; False where they can't be compared.

    They are numbers in the order of the writes:
    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    return version.isdigit() and other.isdigit() and int(version) < int(other)


def _key(document: Object) -> Key:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]
