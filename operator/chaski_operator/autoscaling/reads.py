"""The counts of a route's queues, and when they are read: often where they may change, rarely where nothing can have changed.

    idle        no Pods, no messages for three minutes, and every Pod of ingest reports what it puts on queues: every 15 minutes,
                for messages that others put on SQS directly
    quiet Pods  all Pods report, hold nothing and have attempted nothing since: they poll the queues themselves
    otherwise   every check, those of retries in every third one; a route with many queues less often

SQS's counts may be a minute old (API_GetQueueAttributes), so reading them more often shows little more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from chaski_aws.sqs.queue import counts_of
from chaski_core.errors import BackendError, BackendRejectedError
from chaski_core.ports import QueueCounts
from chaski_operator.autoscaling.policy import UnknownReason
from chaski_operator.autoscaling.targets import settings_of
from chaski_operator.pods.worker_metrics import Pods

QUIET_SECONDS = 180.0  # without Pods and messages before a route is idle: three times as old as counts may be
_QUEUE_SECONDS = 2.8  # for each queue of a route, so that it causes at most 1,300 calls an hour
_LONGEST_SECONDS = 60.0  # however many queues it has
_QUIET_CHECKS = 6  # between two readings while its Pods are quiet
_EMPTY_READINGS = 3  # over `scaleToZeroAfterSeconds`, for the last Pod to be removed


@dataclass(frozen=True, slots=True)
class ReadIntervals:
    """Seconds between two readings of a route's counts."""

    check_seconds: float  # between two checks of the route
    retries_every: int  # queues of retries are read in every n-th check
    idle_seconds: float
    scale_to_zero_after_seconds: float
    first_queues: int  # SQS queues of first attempts
    retry_queues: int

    def usual(self, *, retries: bool) -> float:
        """While messages may arrive at any time."""
        queues = self.first_queues + self.retry_queues / self.retries_every
        seconds = max(self.check_seconds, min(queues * _QUEUE_SECONDS, _LONGEST_SECONDS, self._slowest))
        return seconds * (self.retries_every if retries else 1)

    def quiet(self, *, retries: bool) -> float:
        """While the Pods hold nothing."""
        rare = min(_QUIET_CHECKS * self.check_seconds, self.scale_to_zero_after_seconds / _EMPTY_READINGS)
        return max(self.usual(retries=retries), rare)

    @property
    def _slowest(self) -> float:
        return _LONGEST_SECONDS / 10 * self.check_seconds


@dataclass(slots=True)
class _Read:
    """The last reading of a target's counts."""

    at: float  # monotonic
    attempts: int | None  # of its Pods, since they started


@dataclass(slots=True)
class RouteReads:
    """When the counts of a route were read, and since when it is idle."""

    _read: dict[str, _Read] = field(default_factory=dict)  # by Deployment
    _idle_since: float | None = None  # monotonic

    def reset(self) -> None:
        """Has everything read at the next check, and as usual from then on."""
        self._read.clear()
        self._idle_since = None

    def stir(self, now: float) -> None:
        """Something was put on its queues, or may have been: if they were idle, they are read again."""
        if self.is_idle(now):
            self._read.clear()
        self._idle_since = None

    def is_due(
        self, deployment: str, intervals: ReadIntervals, pods: Pods | None, now: float, *, retries: bool, reported: bool
    ) -> bool:
        """Whether the counts of a Deployment's queues are read in this check.

        Args:
            deployment: of the route.
            intervals: of the route.
            pods: the figures of its Pods; None: it has no ready one.
            now: monotonic seconds.
            retries: its queues are those of retries.
            reported: every Pod of ingest reports what it puts on queues.
        """
        read = self._read.get(deployment)
        if read is None:
            return True
        if reported and self.is_idle(now):
            interval = intervals.idle_seconds
        elif _is_quiet(pods, read.attempts):
            interval = intervals.quiet(retries=retries)
        else:
            interval = intervals.usual(retries=retries)
        return now - read.at >= interval - intervals.check_seconds / 2  # checks are not exactly on time

    def was_read(self, deployment: str, pods: Pods | None, now: float) -> None:
        """Notes a reading."""
        self._read[deployment] = _Read(now, None if pods is None else pods.attempts)

    def observe(self, replicas: Iterable[int], totals: Iterable[int | None], now: float) -> None:
        """Notes what a check has found.

        Args:
            replicas: requested by the Deployments.
            totals: messages in the queues; None: unknown.
            now: monotonic seconds.
        """
        if any(replicas) or any(total != 0 for total in totals):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def is_idle(self, now: float) -> bool:
        """Whether the route has had neither Pods nor messages for three minutes."""
        return self._idle_since is not None and now - self._idle_since >= QUIET_SECONDS


def _is_quiet(pods: Pods | None, attempts: int | None) -> bool:
    if pods is None or not pods.reporting or pods.unresponsive:
        return False
    return not pods.lanes and pods.attempts == attempts


QueueResult = QueueCounts | UnknownReason


class QueueReader:
    """Reads the counts of queues, and notices where their settings have changed."""

    def __init__(
        self, read_queue: Callable[[str], Awaitable[Mapping[str, str]]], on_change: Callable[[], None]
    ) -> None:
        """Nothing is read yet.

        Args:
            read_queue: the attributes of the queue with a URL; raises BackendError.
            on_change: called where a queue's settings differ from those that were read before.
        """
        self._read_queue = read_queue
        self._on_change = on_change
        self._settings: dict[str, tuple[tuple[str, str], ...]] = {}  # by URL, as last seen
        self.created: dict[str, int] = {}  # by URL: creation of the queue, epoch milliseconds

    async def read(self, urls: Iterable[str], *, at_once: int) -> dict[str, QueueResult]:
        """The counts by URL, `at_once` queues concurrently; never raises for an error of SQS."""
        slots = asyncio.Semaphore(at_once)

        async def read(url: str) -> tuple[str, QueueResult]:
            async with slots:
                return url, await self._read(url)

        return dict(await asyncio.gather(*(read(url) for url in urls)))

    async def _read(self, url: str) -> QueueResult:
        try:
            attributes = await self._read_queue(url)
            counts = counts_of(attributes)
        except BackendRejectedError as error:
            if "Denied" in error.code:
                return UnknownReason.DENIED
            self._compare(url, ((error.code, ""),))  # it was deleted, for example
            return UnknownReason.UNAVAILABLE
        except (BackendError, ValueError):
            return UnknownReason.UNAVAILABLE
        self._compare(url, settings_of(attributes))
        created = attributes.get("CreatedTimestamp", "")
        self.created[url] = int(created) * 1000 if created.isdecimal() else 0
        return counts

    def _compare(self, url: str, settings: tuple[tuple[str, str], ...]) -> None:
        if self._settings.setdefault(url, settings) != settings:
            self._settings[url] = settings
            self._on_change()
