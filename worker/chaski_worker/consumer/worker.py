"""A worker: the consumers of one route, from start to drained."""

import asyncio
import logging
import random as randomness
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from chaski_core.errors import BackendError, BackendRejectedError
from chaski_core.ports import Backend, Clock
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.logs import Logs
from chaski_runtime.process import descriptors
from chaski_worker.consumer.consumer import WINDOW_SECONDS, Consumer, OldestReceived
from chaski_worker.consumer.factory import ConsumerFactory
from chaski_worker.consumer.queue_groups import QueueObserver, first_attempt_groups, polled_urls, retry_group
from chaski_worker.delivery.attempt import Handler
from chaski_worker.delivery.triage import Stage
from chaski_worker.guard.guard import Guard
from chaski_worker.hosts.holds import Holds
from chaski_worker.hosts.limits import Limits
from chaski_worker.lanes.controls import SubjectControls
from chaski_worker.lanes.handoff import BackendRetry
from chaski_worker.lanes.lane import Lane
from chaski_worker.metrics import LaneReading, WorkerMetrics
from chaski_worker.observability.reporting import Reporter
from chaski_worker.settings import WorkerSettings
from chaski_worker.shortage.reporting import Shortages, too_few_descriptors

_log = logging.getLogger(__name__)
_RESTART_SECONDS = 1.0
_DRAIN_MARGIN_SECONDS = 10.0
_NO_QUEUE = "QueueDoesNotExist"


class Worker:
    """Consumes and delivers one resolved route.

    Call `run` once; it ends after `stop`, when the lanes in flight have finished or the drain timeout is reached.
    """

    def __init__(  # noqa: PLR0913 - the parts of a worker, each injected
        self,
        resolved: ResolvedRoute,
        *,
        backend: Backend,
        guard: Guard,
        deliver: Handler,
        metrics: WorkerMetrics,
        logs: Logs | None = None,
        clock: Clock,
        settings: WorkerSettings | None = None,
        stages: Sequence[Stage] = (Stage.FIRST, Stage.RETRY),
        only_queue: str | None = None,
        expire_only: bool = False,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._resolved, self._backend, self._clock = resolved, backend, clock
        self._settings = settings = settings or WorkerSettings()
        self._stages = tuple(stages)
        self._only_queue, self._expire_only = only_queue, expire_only or resolved.route.suspend.delivery
        self._oldest_received = OldestReceived(clock, _window(settings) if self._expire_only else WINDOW_SECONDS)
        self._stopping = asyncio.Event()
        self._consumers: list[Consumer] = []
        reporter = Reporter(
            resolved.route, metrics, logs, backend.journal, clock, content_characters=settings.log_content_characters
        )
        self._end_lane_observation = metrics.observe_lanes(self._lane_readings)
        self._shortages = Shortages(resolved.route, metrics, clock)
        self._holds = Holds(resolved.route, metrics, clock, step_seconds=settings.hold_step_seconds)
        self._observer = self._observe_queues(metrics)
        self._limits = _limits(resolved.route, backend, metrics, clock, random)
        self._controls = _controls(resolved.route.key, backend, clock, settings)
        self._factory = ConsumerFactory(
            resolved=resolved,
            backend=backend,
            guard=guard,
            deliver=deliver,
            reporter=reporter,
            shortages=self._shortages,
            backend_retry=BackendRetry(clock, random, reporter.handover_failed),
            oldest_received=self._oldest_received,
            holds=self._holds,
            limits=self._limits,
            controls=self._controls,
            overflowing=self._observer.overflowing,
            clock=clock,
            settings=settings,
            stopping=self._stopping,
            random=random,
        )

    def _observe_queues(self, metrics: WorkerMetrics) -> QueueObserver:
        return QueueObserver(
            self._resolved,
            polled_urls(self._resolved, self._stages, self._only_queue),
            self._backend,
            self._clock,
            metrics,
            held=self._held,
            waiting=self._oldest_waiting,
            needs_counts=lambda: self._settings.count_queues or bool(self._holds.held),
        )

    async def run(self) -> None:
        """Works until `stop`, then drains."""
        self._check_limits()
        tasks: list[asyncio.Task[None]] = []
        if self._expire_only:
            why = "suspended" if self._resolved.route.suspend.delivery else "left to other workers"
            _log.info("delivery of %s is %s: only expiring messages are processed", self._resolved.route.key, why)
            tasks.append(asyncio.create_task(self._expire_periodically()))
        else:
            if Stage.FIRST in self._stages:
                tasks.append(asyncio.create_task(self._consume_generations()))
            group = retry_group(self._resolved)
            if Stage.RETRY in self._stages and group:
                tasks.append(asyncio.create_task(self._run_consumer(self._factory.make(group))))
        if self._settings.observe_interval_seconds:
            tasks.append(asyncio.create_task(self._observer.run(self._settings.observe_interval_seconds)))
        try:
            await self._stopping.wait()
        finally:
            if self._limits is not None:
                self._limits.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._limits is not None:
                await self._limits.close()
            self._holds.close()
            self._controls.close()
            self._end_observations()

    def suspend_targets(self, targets: Collection[str]) -> None:
        """Suspends the allow rules of these names, and no others: their messages wait, uncharged and in order."""
        self._holds.suspend(targets)

    def stop(self) -> None:
        """No receive from now on; `run` returns when the lanes in flight have finished."""
        self._stopping.set()

    def last_poll_age(self) -> float | None:
        """Seconds since the last successful poll, of the queue polled longest ago; None before the first start."""
        polls = [poll for consumer in self._consumers if (poll := consumer.last_poll()) is not None]
        return self._clock.monotonic() - min(polls) if polls else None

    def _oldest_waiting(self, urls: Iterable[str]) -> int | None:
        """While nothing is delivered, a received message is still in its queue, or has become a dead letter."""
        return self._oldest_received.oldest(urls) if self._expire_only else None

    def _oldest_age(self, urls: Iterable[str]) -> float | None:
        oldest = self._oldest_received.oldest(urls)
        return None if oldest is None else max(0.0, (self._clock.now_ms() - oldest) / 1000)

    def _end_observations(self) -> None:
        self._end_lane_observation()
        for each in (self._observer, self._shortages, self._holds):
            each.end_observation()
        if self._limits is not None:
            self._limits.end_observation()

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
                max_lanes=consumer.intake.max_lanes,
                max_bytes=consumer.intake.max_bytes,
                max_attempts=route.delivery.concurrency_per_pod,
                subjects=consumer.workload.active_subjects({lane.key for lane in consumer.lanes}),
                mean_attempt_seconds=consumer.mean_attempt_seconds,
                oldest_received_age_seconds=self._oldest_age(consumer.urls),
            )
            for consumer in self._consumers
        ]

    async def _consume_generations(self) -> None:
        """Drains each older generation of queues, oldest first, and then consumes the current one, so that order holds.

        A subject may have moved from one queue to another, so this waits for all queues of a generation, including
        those that another worker consumes.
        """
        *older, current = first_attempt_groups(self._resolved, self._only_queue)
        for groups, generation in zip(older, self._resolved.generations, strict=False):
            urls = [url for urls in generation.queues.values() for url in urls]
            _log.info("draining an older generation of %d queues first", len(urls))
            consuming = asyncio.gather(*(self._run_consumer(self._factory.make(group)) for group in groups))
            try:
                await self._wait_until_empty(urls)
            finally:
                consuming.cancel()
                await asyncio.gather(consuming, return_exceptions=True)
        await asyncio.gather(*(self._run_consumer(self._factory.make(group)) for group in current))

    async def _run_consumer(self, consumer: Consumer) -> None:
        """Runs a consumer until cancelled, and then waits for its lanes, at most for the drain timeout."""
        self._consumers.append(consumer)
        heartbeat = asyncio.create_task(_restart_on_error("the heartbeat", consumer.run_heartbeat))
        try:
            await _restart_on_error("polling", consumer.run)
        finally:
            try:
                async with asyncio.timeout(self._drain_seconds()):
                    await consumer.drained()
            except TimeoutError:
                _log.warning(
                    "drain timeout reached; in-flight messages will be redelivered when their visibility timeout expires"
                )
                consumer.abandon()
                await consumer.drained()
            finally:
                heartbeat.cancel()
                self._consumers.remove(consumer)

    def _drain_seconds(self) -> float:
        return self._settings.drain_seconds or self._resolved.route.delivery.timeout_seconds + _DRAIN_MARGIN_SECONDS

    async def _wait_until_empty(self, urls: Sequence[str]) -> None:
        """Waits until all queues were empty at `drained_polls` polls in a row, over `drained_over_seconds`."""
        settings = self._settings
        pause = settings.drained_over_seconds / max(1, settings.drained_polls - 1) or 1.0
        empty_polls = 0
        while empty_polls < settings.drained_polls:
            try:
                counts = await asyncio.gather(*map(self._message_count, urls))
                empty_polls = 0 if any(counts) else empty_polls + 1
            except BackendError as error:
                _log.warning("could not count the messages of an older generation, will retry: %s", error)
                empty_polls = 0
            if empty_polls < settings.drained_polls:
                await asyncio.sleep(pause)

    async def _message_count(self, url: str) -> int:
        try:
            return (await self._backend.queue(url).counts()).total
        except BackendRejectedError as error:
            if error.code == _NO_QUEUE:  # an older generation is deleted once it is empty, and not before
                return 0
            raise

    async def _expire_periodically(self) -> None:
        """While nothing is delivered: keeps messages that are about to expire as dead letters, at intervals."""
        groups = [group for groups in first_attempt_groups(self._resolved, self._only_queue) for group in groups]
        retries = retry_group(self._resolved)
        if retries and Stage.RETRY in self._stages:
            groups.append(retries)
        # In queues without a retention nothing expires.
        groups = [group for group in groups if any(self._backend.queue(url).retention_seconds for url in group.urls)]
        settings = self._settings
        self._consumers = consumers = [self._factory.make(group, expire_only=True) for group in groups]
        while consumers:
            complete = all([await _run_once(consumer) for consumer in consumers])
            pause = settings.expiry_interval_seconds
            await asyncio.sleep(pause if complete else min(pause, settings.expiry_retry_seconds))

    def _check_limits(self) -> None:
        groups = len(self._resolved.route.queues) if Stage.FIRST in self._stages and not self._only_queue else 1
        if Stage.FIRST in self._stages and Stage.RETRY in self._stages and self._resolved.rungs:
            groups += 1
        concurrency = self._resolved.route.delivery.concurrency_per_pod
        if fault := too_few_descriptors(concurrency, groups, descriptors.limit()):
            _log.warning("%s: %s", self._resolved.route.key, fault)


def _controls(route: str, backend: Backend, clock: Clock, settings: WorkerSettings) -> SubjectControls:
    interval, step = settings.control_interval_seconds, settings.subject_step_seconds
    return SubjectControls(route, backend.control_records, clock, interval_seconds=interval, step_seconds=step)


def _limits(
    route: Route, backend: Backend, metrics: WorkerMetrics, clock: Clock, random: Callable[[], float]
) -> Limits | None:
    if all(rule.limits is None for rule in route.allow):
        return None
    return Limits(route, backend.limit_leases, metrics, clock, random)


def _window(settings: WorkerSettings) -> float:
    """For how long a message that an expiry pass has received counts: until after the next pass."""
    return 1.5 * settings.expiry_interval_seconds


async def _run_once(consumer: Consumer) -> bool:
    """One pass over a group's queues; whether all of them could be received from. Errors do not delay other groups."""
    try:
        complete = await consumer.run_once()
    except Exception:  # noqa: BLE001 - logged with its traceback; the next pass follows
        _log.exception("the expiry pass of %s crashed", consumer.name)
        complete = False
    await consumer.drained()
    return complete


async def _restart_on_error(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs a loop that should not fail, and restarts it where it does: a bug must not end the process for good."""
    while True:
        try:
            return await run()
        except Exception:  # noqa: BLE001 - logged with its traceback; ending here would strand the held messages
            _log.exception("%s crashed; restarting it", what)
            await asyncio.sleep(_RESTART_SECONDS)
