"""Keeps what the API server holds of one kind: a list, then a watch, for ever.

While the API server is away the last state stays; when it is back, what was missed is seen as changes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from chaski_core.ports import Clock
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeUnavailableError, Object, WatchExpiredError

_log = logging.getLogger(__name__)

_PAGE = "500"
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_SHORTEST_WATCH_SECONDS = 1.0  # one that ends sooner is followed by a pause

T = TypeVar("T")
Key = tuple[str, str]  # namespace ("" for what has none), name
OnChange = Callable[[Key, T | None], None]  # None: it is gone


class Informer(Generic[T]):
    """Objects of one collection, as far as they are kept. Use `run` once; read at any time."""

    def __init__(  # noqa: PLR0913 - what it follows, how, and who is told
        self,
        api: KubeApi,
        path: str,
        keep: Callable[[Object], T],
        clock: Clock,
        random: Callable[[], float],
        *,
        selector: str = "",
        on_change: OnChange[T] | None = None,
    ) -> None:
        """Asks nothing yet.

        Args:
            api: the API server.
            path: of the collection, from `object_path`.
            keep: what of an object is kept.
            clock: time.
            random: a number from 0 to below 1, for jitter.
            selector: labels that the objects must have.
            on_change: told of each object that came, changed or went.
        """
        self._api = api
        self._path = path
        self._keep = keep
        self._clock = clock
        self._random = random
        self._selector = selector
        self._on_change: OnChange[T] = on_change or (lambda _key, _kept: None)
        self._items: dict[Key, T] = {}
        self._versions: dict[Key, str] = {}
        self.synced = False  # a first list was read
        self.heard_at: float | None = None  # monotonic seconds of the last answer or event
        self.trouble: str | None = None  # why nothing is heard now

    @property
    def items(self) -> Mapping[Key, T]:
        """What is known, of the moment."""
        return self._items

    async def run(self) -> None:
        """Follows until cancelled; never raises for what the API server does."""
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
            except WatchExpiredError:
                _log.info("%s: what happened since the last event is no longer told; listing again", self._path)
                failures += 1
                if failures > 1:
                    await self._pause(failures, None)
            except (KubeApiError, ValueError, KeyError, TypeError) as error:  # an answer may also be nonsense
                failures += 1
                self._tell(str(error) or type(error).__name__)
                await self._pause(failures, error)

    async def _list(self) -> str:
        listed: dict[Key, Object] = {}
        asked = {"labelSelector": self._selector, "limit": _PAGE}
        while True:
            page = await self._api.get(self._path, **asked)
            listed |= {_key(each): each for each in page.get("items") or ()}
            more = page["metadata"].get("continue")
            if not more:
                break
            asked["continue"] = more
        for key in [key for key in self._items if key not in listed]:
            self._remove(key)
        for key, each in listed.items():
            self._put(key, each)
        self.synced = True
        self._heard()
        return str(page["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        async for event in self._api.watch(self._path, version, labelSelector=self._selector):
            self._heard()
            changed = event["object"]
            version = str(changed["metadata"]["resourceVersion"])
            if event["type"] == "DELETED":
                self._remove(_key(changed))
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._put(_key(changed), changed)
        self._heard()
        return version

    def _put(self, key: Key, document: Object) -> None:
        version = str(document["metadata"].get("resourceVersion", ""))
        if key in self._items and self._versions[key] == version:
            return
        try:
            kept = self._keep(document)
        except Exception:  # noqa: BLE001 - one object that can't be read must not stop the others
            _log.exception("%s: %s/%s can't be read", self._path, *key)
            return
        self._items[key] = kept
        self._versions[key] = version
        self._tell_change(key, kept)

    def _remove(self, key: Key) -> None:
        if key in self._items:
            del self._items[key], self._versions[key]
            self._tell_change(key, None)

    def _tell_change(self, key: Key, kept: T | None) -> None:
        try:
            self._on_change(key, kept)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("%s: a change of %s/%s could not be followed", self._path, *key)

    def _heard(self) -> None:
        self.heard_at = self._clock.monotonic()
        if self.trouble is not None:
            _log.info("%s: the API server answers again", self._path)
            self.trouble = None

    def _tell(self, reason: str) -> None:
        if self.trouble is None:
            _log.warning("%s: going on with what is known, %d objects: %s", self._path, len(self._items), reason)
        self.trouble = reason

    async def _pause(self, failures: int, error: Exception | None) -> None:
        seconds = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
        asked = error.retry_after_seconds if isinstance(error, KubeUnavailableError) else None
        await asyncio.sleep(max(seconds, asked or 0.0) * (0.5 + self._random()))

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._items.values()))


def _key(document: Object) -> Key:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]
