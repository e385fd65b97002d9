"""A worker: the consumers of one route, from start to drained."""

import asyncio
import logging
import random as randomness
from collections.abc import Awaitable, Callable, Iterable, Sequence

from chaski_core.errors import BackendError, BackendRejectedError
from chaski_core.ports import Backend, Clock, Queue
from chaski_core.route.model import Ordering
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.instruments import LaneReading, Metrics
from chaski_runtime.process import descriptors
from chaski_worker.consumer.consumer import Consumer, PollingSettings
from chaski_worker.consumer.intake import IntakeLimiter
from chaski_worker.consumer.observer import Observer
from chaski_worker.consumer.queue_groups import QueueGroup, first_lines, retry_line
from chaski_worker.consumer.workload import WorkloadStats
from chaski_worker.delivery.attempt import Attempts, Deliverer
from chaski_worker.delivery.slots import Slots
from chaski_worker.delivery.triage import Stage
from chaski_worker.lanes.base import LaneContext, LaneRunner, RelaxedRunner
from chaski_worker.lanes.expire import ExpireOnlyRunner
from chaski_worker.lanes.handoff import BackendRetry, Handoff
from chaski_worker.lanes.lane import Lane
from chaski_worker.lanes.strict import StrictRunner
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.observability.reporting import Reporter
from chaski_worker.settings import WorkerSettings, needed_hold, poll_seconds_for, visibility_for
from chaski_worker.shortage.capacity import too_few_descriptors
from chaski_worker.shortage.reporting import Shortages
from chaski_worker.shortage.sightings import WINDOW_SECONDS, Sightings
from chaski_worker.shortage.waiting import PatientAttempts

_log = logging.getLogger(__name__)
_RESTART_SECONDS = 1.0
_DRAIN_MARGIN_SECONDS = 10.0
_NO_QUEUE = "QueueDoesNotExist"


class Worker:
    """Consumes and delivers one resolved route.

    Call `run` once; it ends after `stop`, when what was in flight has finished or the drain time is over.
    """

    def __init__(  # noqa: PLR0913 - the parts of a worker, each given by its maker
        self,
        resolved: ResolvedRoute,
        *,
        backend: Backend,
        deliverer: Deliverer,
        metrics: Metrics,
        logs: Logs | None = None,
        clock: Clock,
        settings: WorkerSettings | None = None,
        stages: Sequence[Stage] = (Stage.FIRST, Stage.RETRY),
        only_queue: str | None = None,
        sweep: bool = False,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._resolved = resolved
        self._backend = backend
        self._deliverer = deliverer
        self._clock = clock
        self._settings = settings or WorkerSettings()
        self._stages = tuple(stages)
        self._only_queue = only_queue
        self._sweeps = sweep or resolved.route.suspend.delivery
        self._random = random
        self._sightings = Sightings(
            clock, 1.5 * self._settings.sweep_interval_seconds if self._sweeps else WINDOW_SECONDS
        )
        self._stopping = asyncio.Event()
        self._consumers: list[Consumer] = []
        self._reporter = Reporter(
            resolved.route,
            metrics,
            logs,
            backend.journal,
            clock,
            content_characters=self._settings.log_content_characters,
        )
        self._shortages = Shortages(resolved.route, metrics, clock)
        self._observer = Observer(resolved, backend, clock, metrics, self._held, self._oldest_waiting)
        metrics.observe_lanes(self._lane_readings)
        self._insistence = BackendRetry(clock, random, self._reporter.handover_failed)

    async def run(self) -> None:
        """Works until `stop`, then drains."""
        self._check_limits()
        jobs: list[asyncio.Task[None]] = []
        if self._sweeps:
            why = "suspended" if self._resolved.route.suspend.delivery else "not this worker's"
            _log.info("delivery of %s is %s: only what would expire is taken", self._resolved.route.key, why)
            jobs.append(asyncio.create_task(self._sweep()))
        else:
            if Stage.FIRST in self._stages:
                jobs.append(asyncio.create_task(self._follow_generations()))
            line = retry_line(self._resolved)
            if Stage.RETRY in self._stages and line:
                jobs.append(asyncio.create_task(self._work(self._consumer(line))))
        if self._settings.observe_interval_seconds:
            jobs.append(asyncio.create_task(self._observer.run(self._settings.observe_interval_seconds)))
        try:
            await self._stopping.wait()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def stop(self) -> None:
        """No receive from now on; `run` returns when what is in flight has finished."""
        self._stopping.set()

    def last_poll_age(self) -> float | None:
        """Seconds since the last successful poll, of the queue polled longest ago; None before the first start."""
        polls = [poll for consumer in self._consumers if (poll := consumer.last_poll()) is not None]
        return self._clock.monotonic() - min(polls) if polls else None

    def _oldest_waiting(self, urls: Iterable[str]) -> int | None:
        """While nothing is delivered, what was received still lies where it did, or has become a dead letter."""
        return self._sightings.oldest(urls) if self._sweeps else None

    def _oldest_age(self, urls: Iterable[str]) -> float | None:
        oldest = self._sightings.oldest(urls)
        return None if oldest is None else max(0.0, (self._clock.now_ms() - oldest) / 1000)

    def _held(self) -> list[Lane]:
        return [lane for consumer in self._consumers for lane in consumer.lanes]

    def _lane_readings(self) -> list[LaneReading]:
        route = self._resolved.route
        return [
            LaneReading(
                route.namespace,
                route.name,
                consumer.name,
                busy_lanes=consumer.busy,
                waiting_lanes=max(0, len(consumer.lanes) - consumer.busy),
                held_messages=sum(len(lane.held) for lane in consumer.lanes),
                held_bytes=sum(lane.size for lane in consumer.lanes),
                max_lanes=consumer.room.max_lanes,
                max_bytes=consumer.room.max_bytes,
                max_attempts=route.delivery.concurrency_per_pod,
                subjects=consumer.load.subjects({lane.key for lane in consumer.lanes}),
                mean_attempt_seconds=consumer.load.attempt_seconds,
                oldest_received_age_seconds=self._oldest_age(consumer.urls),
            )
            for consumer in self._consumers
        ]

    # ---- what is run

    async def _follow_generations(self) -> None:
        """Works off each older generation of queues until it is empty; only then the next, so that order holds.

        A subject may have moved from one queue to another, so this waits for all queues of a generation, also for those
        that another worker consumes.
        """
        *older, current = first_lines(self._resolved, self._only_queue)
        for lines, generation in zip(older, self._resolved.generations, strict=False):
            urls = [url for urls in generation.queues.values() for url in urls]
            _log.info("draining an older generation of %d queues first", len(urls))
            work = asyncio.gather(*(self._work(self._consumer(line)) for line in lines))
            try:
                await self._empty(urls)
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        await asyncio.gather(*(self._work(self._consumer(line)) for line in current))

    async def _work(self, consumer: Consumer) -> None:
        """Runs a consumer until cancelled, and then waits for its lanes, at most for the drain time."""
        self._consumers.append(consumer)
        beat = asyncio.create_task(_insist_on("the heartbeat", consumer.beat))
        try:
            await _insist_on("polling", consumer.run)
        finally:
            try:
                async with asyncio.timeout(self._drain_seconds()):
                    await consumer.drained()
            except TimeoutError:
                _log.warning("the drain time is over; what is still in flight comes again after its hold")
                consumer.abandon()
                await consumer.drained()
            finally:
                beat.cancel()
                self._consumers.remove(consumer)

    def _drain_seconds(self) -> float:
        return self._settings.drain_seconds or self._resolved.route.delivery.timeout_seconds + _DRAIN_MARGIN_SECONDS

    async def _empty(self, urls: Sequence[str]) -> None:
        """Waits until all queues were found empty often and long enough to believe it."""
        settings = self._settings
        pause = settings.drained_over_seconds / max(1, settings.drained_polls - 1) or 1.0
        found = 0
        while found < settings.drained_polls:
            try:
                found = found + 1 if not any(await asyncio.gather(*map(self._waiting, urls))) else 0
            except BackendError as error:
                _log.warning("could not see whether an older generation is empty, trying again: %s", error)
                found = 0
            if found < settings.drained_polls:
                await asyncio.sleep(pause)

    async def _waiting(self, url: str) -> int:
        try:
            return (await self._backend.queue(url).counts()).total
        except BackendRejectedError as error:
            if error.code == _NO_QUEUE:  # an older generation is dropped once it is empty, and not before
                return 0
            raise

    async def _sweep(self) -> None:
        """While nothing is delivered: looks now and then for messages that are about to expire."""
        lines = [line for lines in first_lines(self._resolved, self._only_queue) for line in lines]
        retry = retry_line(self._resolved)
        if retry and Stage.RETRY in self._stages:
            lines.append(retry)
        # Where queues keep their messages there is nothing to save.
        lines = [line for line in lines if any(self._backend.queue(url).retention_seconds for url in line.urls)]
        settings = self._settings
        self._consumers = consumers = [self._consumer(line, sweep=True) for line in lines]
        while consumers:
            whole = all([await _swept(consumer) for consumer in consumers])
            pause = settings.sweep_interval_seconds
            await asyncio.sleep(pause if whole else min(pause, settings.sweep_retry_seconds))

    def _check_limits(self) -> None:
        lines = len(self._resolved.route.queues) if Stage.FIRST in self._stages and not self._only_queue else 1
        if Stage.FIRST in self._stages and Stage.RETRY in self._stages and self._resolved.rungs:
            lines += 1
        concurrency = self._resolved.route.delivery.concurrency_per_pod
        if fault := too_few_descriptors(concurrency, lines, descriptors.limit()):
            _log.warning("%s: %s", self._resolved.route.key, fault)

    # ---- how it is put together

    def _consumer(self, line: QueueGroup, *, sweep: bool = False) -> Consumer:
        route, settings = self._resolved.route, self._settings
        room = IntakeLimiter(route.delivery.concurrency_per_pod * settings.lanes_per_slot, settings.max_held_bytes)
        slots = Slots(route.delivery.concurrency_per_pod, len(route.allow))
        load = WorkloadStats(self._clock)
        attempts = Attempts(self._deliverer, slots, load, self._clock.now_ms, lambda: room.full)
        visibility = visibility_for(route.delivery.timeout_seconds, settings)
        job = LaneContext(
            route=route,
            stage=line.stage,
            attempts=PatientAttempts(attempts, self._shortages, room, self._stopping, self._random),
            handoff=Handoff(
                route.key,
                self._rungs(),
                self._backend.dead_letters,
                self._insistence,
                self._clock,
                linger_seconds=settings.handover_linger_seconds,
            ),
            reporter=self._reporter,
            clock=self._clock,
            settings=settings,
            stopping=self._stopping,
            hold_seconds=needed_hold(route.delivery.timeout_seconds, visibility, settings),
        )
        return Consumer(
            line.name,
            [self._runner(job, self._backend.queue(url), visibility, sweep=sweep) for url in line.urls],
            room=room,
            slots=slots,
            load=load,
            clock=self._clock,
            random=self._random,
            visibility_seconds=visibility,
            renew_below=settings.renew_below,
            pace=PollingSettings(
                poll_seconds_for(visibility, settings), settings.poll_gap_seconds, settings.polls_per_queue
            ),
            sightings=self._sightings,
        )

    def _runner(self, job: LaneContext, queue: Queue, visibility: int, *, sweep: bool) -> LaneRunner:
        holder = VisibilityManager(
            queue,
            clock=self._clock,
            random=self._random,
            visibility_seconds=visibility,
            linger_seconds=self._settings.delete_linger_seconds,
        )
        if sweep:
            return ExpireOnlyRunner(job, holder)
        if self._resolved.route.ordering is Ordering.STRICT:
            return StrictRunner(job, holder, self._backend.attempt_records, self._insistence)
        return RelaxedRunner(job, holder)

    def _rungs(self) -> dict[str, Queue]:
        return {rung.rung.name: self._backend.queue(rung.url) for rung in self._resolved.rungs}


async def _swept(consumer: Consumer) -> bool:
    """Sweeps one line; whether all of its queues could be. A fault of one line does not hold up the others."""
    try:
        whole = await consumer.run_once()
    except Exception:  # noqa: BLE001 - logged with its trace; the next sweep comes
        _log.exception("the sweep of %s stopped by a fault of its own", consumer.name)
        whole = False
    await consumer.drained()
    return whole


async def _insist_on(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs something that should not fail, again where it does: a fault of ours must not end the process for good."""
    while True:
        try:
            return await run()
        except Exception:  # noqa: BLE001 - told with its trace; ending here would strand what the process holds
            _log.exception("%s stopped by a fault of its own; starting it again", what)
            await asyncio.sleep(_RESTART_SECONDS)
