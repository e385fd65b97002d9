"""A consumer: polls the queues of one group, holds lanes, delivers many at once, and counts its workload for the autoscaler."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

from chaski_core.errors import BackendError
from chaski_core.ports import MAX_BATCH_ENTRIES, Clock, Queue, ReceivedMessage
from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.lanes.base import LaneRunner
from chaski_worker.lanes.lane import Lane, LaneKey, split_by_group
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.settings import BACKEND_BACKOFF

WINDOW_SECONDS: Final = 600.0  # far more than the time between two scrapes
RECENT_SECONDS = 60.0
_MAX_KEYS = 10_000  # the autoscaler does not distinguish larger numbers of subjects a minute

_log = logging.getLogger(__name__)
_EARLY_RESPONSE_SECONDS = 0.2
_TICKS_PER_VISIBILITY = 12
_ATTEMPT_ID_SECONDS = 240  # a receive attempt id is good for five minutes: API_ReceiveMessage


@dataclass(frozen=True, slots=True)
class PollingSettings:
    """How a queue is polled; see `WorkerSettings`."""

    wait_seconds: float
    gap_seconds: float
    polls_per_queue: int


class WorkloadStats:
    """The recently received subjects."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received_at: dict[LaneKey, float] = {}  # monotonic seconds of the last receive, oldest first

    def observe_subject(self, key: LaneKey) -> None:
        """Messages of this subject were received."""
        self._received_at.pop(key, None)
        self._received_at[key] = self._clock.monotonic()
        if len(self._received_at) > _MAX_KEYS:
            del self._received_at[next(iter(self._received_at))]

    def forget_subject(self, key: LaneKey) -> None:
        """Its messages wait for a held host: more Pods would not deliver them."""
        self._received_at.pop(key, None)

    def active_subjects(self, held: set[LaneKey]) -> int:
        """Number of subjects that are held now or were received within the last minute."""
        since = self._clock.monotonic() - RECENT_SECONDS
        while self._received_at and self._received_at[key := next(iter(self._received_at))] < since:
            del self._received_at[key]
        return len(self._received_at.keys() | held)


class OldestReceived:
    """The oldest SentTimestamp received from each queue, delivered since or not, over one to two windows.

    The operator judges a queue's age by it.
    """

    def __init__(self, clock: Clock, window_seconds: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._window = window_seconds
        self._turned = clock.monotonic()
        self._current: dict[str, int] = {}  # queue URL -> epoch milliseconds
        self._previous: dict[str, int] = {}

    def observe(self, url: str, messages: Iterable[ReceivedMessage]) -> None:
        """These messages, at least one, were received from that queue."""
        self._turn()
        oldest = min(message.sent_at for message in messages)
        known = self._current.get(url)
        if known is None or oldest < known:
            self._current[url] = oldest

    def oldest(self, urls: Iterable[str]) -> int | None:
        """SentTimestamp of the oldest message received from these queues, epoch milliseconds; None if none was."""
        self._turn()
        found = [kept[url] for url in urls for kept in (self._previous, self._current) if url in kept]
        return min(found, default=None)

    def _turn(self) -> None:
        passed = self._clock.monotonic() - self._turned
        if passed < self._window:
            return
        self._previous = self._current if passed < 2 * self._window else {}
        self._current = {}
        self._turned += passed // self._window * self._window


class Consumer:
    """Polls the queues of one group and runs their lanes.

    `run` ends when it is cancelled; lanes under way continue, and `drained` waits for them.
    """

    def __init__(  # noqa: PLR0913 - the parts of a consumer, each injected
        self,
        name: str,
        runners: Sequence[LaneRunner],
        *,
        intake: IntakeLimiter,
        slots: Slots,
        workload: WorkloadStats,
        clock: Clock,
        random: Callable[[], float],
        visibility_seconds: int,
        renew_below: float,
        polling: PollingSettings,
        oldest_received: OldestReceived,
    ) -> None:
        self.name = name
        self.urls = tuple(runner.visibility.queue.url for runner in runners)
        self.intake = intake
        self.workload = workload
        self._runners = tuple(runners)
        self._slots = slots
        self._clock = clock
        self._random = random
        self._visibility = visibility_seconds
        self._polling = polling
        self._oldest_received = oldest_received
        self._polls: asyncio.TaskGroup | None = None
        self._extra_polls: Counter[str] = Counter()  # queue URL -> polls beside the permanent one
        self._renew_below = renew_below * visibility_seconds
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._latest: dict[LaneKey, asyncio.Task[None]] = {}
        self._extending: dict[Lane, asyncio.Task[None]] = {}
        self._polled: dict[str, float] = {}  # queue URL -> monotonic seconds of the last successful poll

    async def run(self) -> None:
        """Polls until cancelled."""
        now = self._clock.monotonic()
        self._polled = dict.fromkeys(self.urls, now)
        async with asyncio.TaskGroup() as self._polls:
            for runner in self._runners:
                self._polls.create_task(self._poll(runner, permanent=True))

    async def run_once(self) -> bool:
        """Receives until the queues return nothing more; False where a receive failed."""
        return all([await self._receive_all(runner) for runner in self._runners])

    async def _receive_all(self, runner: LaneRunner) -> bool:
        queue = runner.visibility.queue
        while True:
            await self.intake.wait()
            asked_at = self._clock.monotonic()
            try:
                messages = await self._receive(queue, uuid4().hex, 0.0)
            except BackendError as error:  # the other queues of the group are not delayed by it
                _log.warning("could not receive from %s, will retry at the next pass: %s", queue.url, error)
                return False
            if not messages:
                return True
            self._start_lanes(runner, messages, asked_at)

    async def run_heartbeat(self) -> None:
        """Extends the visibility of all held lanes, including those that wait, until cancelled."""
        while True:
            await asyncio.sleep(self._visibility / _TICKS_PER_VISIBILITY)
            now = self._clock.monotonic()
            for lane in self._lanes:
                # An extension waits for a delete under way, also where one delete after the other fails.
                if lane.lost is None and lane not in self._extending and not lane.outlasts(self._renew_below, now):
                    task = asyncio.create_task(self._visibility_of(lane).extend(lane))
                    self._extending[lane] = task
                    task.add_done_callback(partial(self._end_extension, lane))

    def _end_extension(self, lane: Lane, _: asyncio.Task[None]) -> None:
        del self._extending[lane]

    async def drained(self) -> None:
        """Waits until no lane is left."""
        while self._lanes:
            await asyncio.wait(tuple(self._lanes.values()))

    def abandon(self) -> None:
        """Cancels every lane; their messages are redelivered when their visibility timeout runs out."""
        for task in self._lanes.values():
            task.cancel()

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes held now."""
        return tuple(self._lanes)

    @property
    def busy(self) -> int:
        """Attempts under way."""
        return self._slots.taken

    @property
    def mean_attempt_seconds(self) -> float | None:
        """How long an attempt takes, as a moving mean; None before the first one."""
        return self._slots.mean_seconds

    def last_poll(self) -> float | None:
        """Monotonic seconds of the last successful poll, of the queue polled longest ago; None before the first start.

        A queue that is not polled because the intake is full counts as polled: the worker is busy.
        """
        if self.intake.full:
            return self._clock.monotonic()
        return min(self._polled.values(), default=None)

    async def _poll(self, runner: LaneRunner, *, permanent: bool) -> None:
        """Receives in a loop; an extra poll ends when the queue returns less than a full batch."""
        queue = runner.visibility.queue
        failures, attempt_id, named_at = 0, uuid4().hex, self._clock.monotonic()
        while True:
            await self.intake.wait()
            asked_at = self._clock.monotonic()
            try:
                messages = await self._receive(queue, attempt_id, self._polling.wait_seconds if permanent else 0.0)
            except BackendError as error:
                # The same attempt id again: if the lost response held messages, they are returned at once.
                failures += 1
                _log.warning("could not receive from %s, will retry: %s", queue.url, error)
                await asyncio.sleep(BACKEND_BACKOFF.equal_jitter(failures, self._random()))
                if self._clock.monotonic() - named_at > _ATTEMPT_ID_SECONDS:
                    attempt_id, named_at = uuid4().hex, self._clock.monotonic()
                continue
            failures, attempt_id, named_at = 0, uuid4().hex, self._clock.monotonic()
            self._polled[queue.url] = self._clock.monotonic()
            self._start_lanes(runner, messages, asked_at)
            if len(messages) == MAX_BATCH_ENTRIES:
                self._start_extra_poll(runner)
            elif not permanent:
                return
            elif messages:
                await asyncio.sleep(self._polling.gap_seconds)
            elif self._clock.monotonic() - asked_at < self._polling.wait_seconds / 2:
                # Empty at once instead of after a long poll: for example, the queue is at its in-flight limit.
                await asyncio.sleep(_EARLY_RESPONSE_SECONDS)

    def _start_extra_poll(self, runner: LaneRunner) -> None:
        url = runner.visibility.queue.url
        if self._polls is None or self._extra_polls[url] + 1 >= self._polling.polls_per_queue or self.intake.full:
            return
        self._extra_polls[url] += 1
        poll = self._polls.create_task(self._poll(runner, permanent=False))
        poll.add_done_callback(lambda _: self._extra_polls.subtract([url]))

    async def _receive(self, queue: Queue, attempt_id: str, wait_seconds: float) -> Sequence[ReceivedMessage]:
        return await queue.receive(
            max_messages=MAX_BATCH_ENTRIES,
            wait_seconds=wait_seconds,
            visibility_seconds=self._visibility,
            attempt_id=attempt_id,
        )

    def _start_lanes(self, runner: LaneRunner, messages: Sequence[ReceivedMessage], asked_at: float) -> None:
        if messages:
            self._oldest_received.observe(runner.visibility.queue.url, messages)
        for group in split_by_group(messages):
            lane = Lane(runner.visibility.queue.url, group, asked_at, asked_at + self._visibility)
            self.workload.observe_subject(lane.key)
            self._start_lane(runner, lane)

    def _start_lane(self, runner: LaneRunner, lane: Lane) -> None:
        self.intake.acquire(lane.size)
        before = self._latest.get(lane.key)
        running = runner.run(lane) if before is None or before.done() else _run_after(before, runner, lane)
        task = asyncio.create_task(running)
        self._lanes[lane] = task
        self._latest[lane.key] = task
        task.add_done_callback(partial(self._end_lane, lane))

    def _end_lane(self, lane: Lane, task: asyncio.Task[None]) -> None:
        del self._lanes[lane]
        if self._latest.get(lane.key) is task:
            del self._latest[lane.key]
        self.intake.release(lane.size)
        if lane.waits_for_host:
            self.workload.forget_subject(lane.key)
        if not task.cancelled() and (error := task.exception()):
            _log.error("lane task crashed; its messages will be redelivered", exc_info=error)

    def _visibility_of(self, lane: Lane) -> VisibilityManager:
        return next(runner.visibility for runner in self._runners if runner.visibility.queue.url == lane.key[0])


async def _run_after(before: asyncio.Task[None], runner: LaneRunner, lane: Lane) -> None:
    # The group was received again while its lane is still under way: either that lane is just finishing, or its
    # visibility timeout ran out and these are the same messages. Never two lanes of one group side by side.
    await asyncio.wait([before])
    await runner.run(lane)
