"""A consumer: polls the partitions of one line, holds lanes, and delivers many lanes at once."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from chaski_core.errors import BackendError
from chaski_core.ports import MAX_BATCH_ENTRIES, Clock, Queue, ReceivedMessage
from chaski_worker.consumer.intake import IntakeLimiter
from chaski_worker.consumer.workload import WorkloadStats
from chaski_worker.delivery.backoff import backoff_seconds
from chaski_worker.delivery.slots import Slots
from chaski_worker.lanes.base import LaneRunner
from chaski_worker.lanes.lane import Lane, LaneKey, split
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.shortage.sightings import Sightings

_log = logging.getLogger(__name__)
_EARLY_ANSWER_SECONDS = 0.2
_TICKS_PER_VISIBILITY = 12
_ATTEMPT_ID_SECONDS = 240  # a receive attempt id is good for five minutes: API_ReceiveMessage


@dataclass(frozen=True, slots=True)
class PollingSettings:
    """How a queue is polled; see `WorkerSettings`."""

    wait_seconds: float
    gap_seconds: float
    polls_per_queue: int


class Consumer:
    """Polls the queues of one line and runs their lanes.

    `run` ends when it is cancelled; lanes that are under way go on, and `drained` waits for them.
    """

    def __init__(  # noqa: PLR0913 - the parts of a consumer, each given by its maker
        self,
        name: str,
        runners: Sequence[LaneRunner],
        *,
        room: IntakeLimiter,
        slots: Slots,
        load: WorkloadStats,
        clock: Clock,
        random: Callable[[], float],
        visibility_seconds: int,
        renew_below: float,
        pace: PollingSettings,
        sightings: Sightings,
    ) -> None:
        self.name = name
        self.urls = tuple(runner.holder.queue.url for runner in runners)
        self._sightings = sightings
        self._runners = tuple(runners)
        self.room = room
        self._slots = slots
        self.load = load
        self._clock = clock
        self._random = random
        self._visibility = visibility_seconds
        self._pace = pace
        self._polls: asyncio.TaskGroup | None = None
        self._helpers: Counter[str] = Counter()  # queue URL -> polls beside the leader's
        self._renew_below = renew_below * visibility_seconds
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._latest: dict[LaneKey, asyncio.Task[None]] = {}
        self._extending: set[asyncio.Task[None]] = set()
        self._polled: dict[str, float] = {}  # queue URL -> monotonic seconds of the last successful poll

    async def run(self) -> None:
        """Polls until cancelled."""
        now = self._clock.monotonic()
        self._polled = {runner.holder.queue.url: now for runner in self._runners}
        async with asyncio.TaskGroup() as self._polls:
            for runner in self._runners:
                self._polls.create_task(self._poll(runner, leader=True))

    async def run_once(self) -> bool:
        """Receives until the queues give nothing more; False where one of them could not be received from."""
        return all([await self._receive_all(runner) for runner in self._runners])

    async def _receive_all(self, runner: LaneRunner) -> bool:
        queue = runner.holder.queue
        while True:
            await self.room.wait()
            asked_at = self._clock.monotonic()
            try:
                messages = await self._receive(queue, uuid4().hex, 0.0)
            except BackendError as error:  # the other queues of the line are not held up by it
                _log.warning("could not receive from %s, trying again in a while: %s", queue.url, error)
                return False
            if not messages:
                return True
            self._take(runner, messages, asked_at)

    async def beat(self) -> None:
        """Keeps hidden what the lanes hold, those that wait included, until cancelled."""
        while True:
            await asyncio.sleep(self._visibility / _TICKS_PER_VISIBILITY)
            now = self._clock.monotonic()
            for lane in self._lanes:
                if lane.lost is None and not lane.busy and not lane.outlives(self._renew_below, now):
                    task = asyncio.create_task(self._holder_of(lane).extend(lane))
                    self._extending.add(task)
                    task.add_done_callback(self._extending.discard)

    async def drained(self) -> None:
        """Waits until no lane is left."""
        while self._lanes:
            await asyncio.wait(tuple(self._lanes.values()))

    def abandon(self) -> None:
        """Cuts every lane off; what they hold comes again when its hold has run out."""
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

    def last_poll(self) -> float | None:
        """Monotonic seconds of the last successful poll of the queue that was polled longest ago; None if none is.

        A queue that is not polled because there is no room counts as polled: the worker has its hands full.
        """
        if self.room.full:
            return self._clock.monotonic()
        return min(self._polled.values(), default=None)

    async def _poll(self, runner: LaneRunner, *, leader: bool) -> None:
        """Receives again and again; one that only helps out ends when the queue gives less than a full batch."""
        queue = runner.holder.queue
        failures, attempt_id, named_at = 0, uuid4().hex, self._clock.monotonic()
        while True:
            await self.room.wait()
            asked_at = self._clock.monotonic()
            try:
                messages = await self._receive(queue, attempt_id, self._pace.wait_seconds if leader else 0.0)
            except BackendError as error:
                # The same attempt id again: should the lost answer have held messages, they come at once.
                failures += 1
                _log.warning("could not receive from %s, trying again: %s", queue.url, error)
                await asyncio.sleep(backoff_seconds(failures, self._random()))
                if self._clock.monotonic() - named_at > _ATTEMPT_ID_SECONDS:
                    attempt_id, named_at = uuid4().hex, self._clock.monotonic()
                continue
            failures, attempt_id, named_at = 0, uuid4().hex, self._clock.monotonic()
            self._polled[queue.url] = self._clock.monotonic()
            self._take(runner, messages, asked_at)
            if len(messages) == MAX_BATCH_ENTRIES:
                self._call_for_help(runner)
            elif not leader:
                return
            elif messages:
                await asyncio.sleep(self._pace.gap_seconds)
            elif self._clock.monotonic() - asked_at < self._pace.wait_seconds / 2:
                # Nothing, and at once instead of after a long poll: the queue is at its limit of messages in flight, say.
                await asyncio.sleep(_EARLY_ANSWER_SECONDS)

    def _call_for_help(self, runner: LaneRunner) -> None:
        url = runner.holder.queue.url
        if self._polls is None or self._helpers[url] + 1 >= self._pace.polls_per_queue or self.room.full:
            return
        self._helpers[url] += 1
        helper = self._polls.create_task(self._poll(runner, leader=False))
        helper.add_done_callback(lambda _: self._helpers.subtract([url]))

    def _take(self, runner: LaneRunner, messages: Sequence[ReceivedMessage], asked_at: float) -> None:
        if messages:
            self._sightings.note(runner.holder.queue.url, messages)
        for group in split(messages):
            lane = Lane(runner.holder.queue.url, group, asked_at, asked_at + self._visibility)
            self.load.met(lane.key)
            self._start(runner, lane)

    async def _receive(self, queue: Queue, attempt_id: str, wait_seconds: float) -> Sequence[ReceivedMessage]:
        return await queue.receive(
            max_messages=MAX_BATCH_ENTRIES,
            wait_seconds=wait_seconds,
            visibility_seconds=self._visibility,
            attempt_id=attempt_id,
        )

    def _start(self, runner: LaneRunner, lane: Lane) -> None:
        self.room.enter(lane.size)
        task = asyncio.create_task(self._run(runner, lane, self._latest.get(lane.key)))
        self._lanes[lane] = task
        self._latest[lane.key] = task
        task.add_done_callback(lambda _: self._end(lane, task))

    async def _run(self, runner: LaneRunner, lane: Lane, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            # The same group came again while its lane is still under way: either that one is just finishing, or its
            # hold ran out and this is the same messages once more. Never two lanes of one group side by side.
            await asyncio.wait([before])
        await runner.run(lane)

    def _end(self, lane: Lane, task: asyncio.Task[None]) -> None:
        del self._lanes[lane]
        if self._latest.get(lane.key) is task:
            del self._latest[lane.key]
        self.room.leave(lane.size)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a lane ended by a fault; its messages come again", exc_info=error)

    def _holder_of(self, lane: Lane) -> VisibilityManager:
        return next(runner.holder for runner in self._runners if runner.holder.queue.url == lane.key[0])
