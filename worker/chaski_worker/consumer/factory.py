"""Builds a route's guard, its deliverer and its consumers from their parts."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaski_core import __version__
from chaski_core.errors import FieldError, InvalidInputError
from chaski_core.ports import Backend, Clock, Queue
from chaski_core.route.model import AllowRule, Ordering, Route
from chaski_core.route.resolved import ResolvedRoute
from chaski_runtime.observability.tracing import Tracing
from chaski_runtime.process import descriptors
from chaski_runtime.process.file_reloader import ReloadedFiles
from chaski_worker.consumer.consumer import Consumer, OldestReceived, PollingSettings, WorkloadStats
from chaski_worker.consumer.queue_groups import QueueGroup
from chaski_worker.credentials.factory import credential_sources
from chaski_worker.credentials.source import CredentialSource, authenticate
from chaski_worker.delivery.admission import Admission
from chaski_worker.delivery.attempt import Attempts, Handler, Middleware, ShortageRetry
from chaski_worker.delivery.clients import ClientCertificate, TargetClients
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.delivery.limits import IntakeLimiter, Slots
from chaski_worker.delivery.signing import Keys, RuleKeys, sign_requests, watch_keys
from chaski_worker.guard.addresses import AddressTables, own_addresses
from chaski_worker.guard.guard import Guard, RefusalReason, api_server_hosts, may_have_several_hosts
from chaski_worker.hosts.holds import Holds
from chaski_worker.hosts.limits import Limits
from chaski_worker.lanes.base import LaneContext, LaneRunner, RelaxedRunner
from chaski_worker.lanes.controls import SubjectControls
from chaski_worker.lanes.expiry import ExpireOnlyRunner
from chaski_worker.lanes.handoff import BackendRetry, Handoff
from chaski_worker.lanes.strict import StrictRunner
from chaski_worker.lanes.visibility import VisibilityManager
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.observability.reporting import Reporter
from chaski_worker.observability.tracing import trace_attempts, trace_requests
from chaski_worker.settings import WorkerSettings, needed_visibility, poll_seconds_for, visibility_for
from chaski_worker.shortage.detection import ShortageError
from chaski_worker.shortage.reporting import Shortages

_log = logging.getLogger(__name__)
_UNUSABLE = {"ecs": {"event.action": "certificate-unusable"}}
_KEYS_UNUSABLE = {"ecs": {"event.action": "credentials-unusable"}}


@dataclass(frozen=True, slots=True)
class DelivererDependencies:
    """The parts of a deliverer that come from its process, not from the route."""

    clock: Clock
    permit_loopback: bool = False  # the addresses of allowed hosts may be addresses of this machine
    secrets: Path | None = None  # folder with one folder for each Secret; None: no Secrets are used
    tracing: Tracing | None = None  # starts a span for each attempt; None: traces are off


def make_guard(route: Route) -> Guard:
    """The guard of a route."""
    return Guard(route.allow, api_server_hosts(os.environ))


def make_deliverer(route: Route, metrics: WorkerMetrics, dependencies: DelivererDependencies) -> HttpDeliverer:
    """The deliverer of a route; it counts the requests that the guard refuses.

    Raises:
        InvalidInputError: the route's signing Secret can't be used.
    """
    policy = AddressTables(permit_loopback=dependencies.permit_loopback, own=own_addresses(os.environ))
    clients = TargetClients(
        policy,
        user_agent=f"chaski/{__version__}",
        certificates=_certificates(route, dependencies),
        ceiling=descriptors.ceiling(descriptors.limit()),
    )
    sources: dict[AllowRule, CredentialSource] = {}
    if dependencies.secrets is not None:
        sources = credential_sources(route, dependencies.secrets, clients, dependencies.clock)
    innermost = [trace_requests(dependencies.tracing)] if dependencies.tracing is not None else []
    return HttpDeliverer(
        clients,
        timeout_seconds=route.delivery.timeout_seconds,
        clock=dependencies.clock,
        middlewares=[*_middlewares(route, dependencies), *([authenticate(sources)] if sources else []), *innermost],
        on_refusal=_counted(metrics, route),
        on_close=[source.close for source in sources.values()],
    )


def _middlewares(route: Route, dependencies: DelivererDependencies) -> list[Middleware]:
    """What runs around each request before its credentials are added, outermost first."""
    middlewares: list[Middleware] = []
    if dependencies.tracing is not None:
        middlewares.append(trace_attempts(dependencies.tracing))
    keys = _signing_keys(route, dependencies)
    if keys:
        middlewares.append(sign_requests(keys, dependencies.clock))
    return middlewares


def _signing_keys(route: Route, dependencies: DelivererDependencies) -> dict[AllowRule, ReloadedFiles[Keys] | RuleKeys]:
    """The keys that sign each rule's requests; a rule without keys is left out."""
    if dependencies.secrets is None:
        return {}
    found: dict[AllowRule, ReloadedFiles[Keys] | RuleKeys] = {}
    shared: ReloadedFiles[Keys] | None = None
    for number, rule in enumerate(route.allow):
        if rule.signing is not None:
            folder = dependencies.secrets / rule.signing.secret_name
            found[rule] = RuleKeys(rule, folder, rule.signing.scheme, dependencies.clock.monotonic)
            try:
                found[rule].value()
            except ShortageError as error:  # affects this rule only
                _log.error(
                    "spec.targets.allow[%d].signing: %s; the rule's messages wait until they can be used",
                    number,
                    error,
                    extra=_KEYS_UNUSABLE,
                )
        elif route.signing is not None:
            if shared is None:
                with _named("spec.signing.secretName", dependencies.secrets / route.signing.secret_name) as folder:
                    shared = watch_keys(folder, route.signing.scheme, dependencies.clock.monotonic)
            found[rule] = shared
    return found


def _certificates(route: Route, dependencies: DelivererDependencies) -> dict[AllowRule, ClientCertificate]:
    found: dict[AllowRule, ClientCertificate] = {}
    for number, rule in enumerate(route.allow):
        if rule.client_cert_secret_name is not None and dependencies.secrets is not None:
            folder = dependencies.secrets / rule.client_cert_secret_name
            found[rule] = ClientCertificate(rule, folder, dependencies.clock.monotonic)
            try:
                found[rule].context()
            except (OSError, ValueError) as error:  # affects this rule only
                _log.error(
                    "spec.targets.allow[%d].clientCertSecretName: %s can't be used: %s; the rule's messages wait until it can",
                    number,
                    folder,
                    error,
                    extra=_UNUSABLE,
                )
    return found


@contextmanager
def _named(field: str, folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except (OSError, ValueError) as error:
        raise InvalidInputError([FieldError(field, f"{folder} can't be used: {error}")]) from error


def _counted(metrics: WorkerMetrics, route: Route) -> Callable[[RefusalReason], None]:
    return lambda reason: metrics.guard_refusals.add((route.namespace, route.name, reason.value))


@dataclass(frozen=True)
class ConsumerFactory:
    """Builds the consumers of one worker; its fields are the parts that they share."""

    resolved: ResolvedRoute
    backend: Backend
    guard: Guard
    deliver: Handler
    reporter: Reporter
    shortages: Shortages
    backend_retry: BackendRetry
    oldest_received: OldestReceived
    holds: Holds
    limits: Limits | None  # None: no rule of the route has any
    controls: SubjectControls
    overflowing: AbstractSet[str]  # URLs of the queues that have reached the backlog limit
    clock: Clock
    settings: WorkerSettings
    stopping: asyncio.Event
    random: Callable[[], float]

    def make(self, group: QueueGroup, *, expire_only: bool = False) -> Consumer:
        """A consumer of a group of queues. `expire_only`: it attempts nothing, but keeps messages about to expire."""
        route, settings = self.resolved.route, self.settings
        concurrency = route.delivery.concurrency_per_pod
        intake = IntakeLimiter(concurrency * settings.lanes_per_slot, settings.max_held_bytes)
        slots = Slots(concurrency, several=may_have_several_hosts(route.allow), monotonic=self.clock.monotonic)
        admission = Admission(
            slots,
            intake,
            self.holds,
            overflows=lambda: not self.overflowing.isdisjoint(group.urls),
            limits=self.limits,
        )
        attempts = Attempts(route.key, self.guard, self.deliver, admission=admission, clock=self.clock)
        visibility = visibility_for(route.delivery.timeout_seconds, settings)
        context = LaneContext(
            route=route,
            stage=group.stage,
            generation=group.generation,
            attempts=ShortageRetry(attempts, self.shortages, intake, self.stopping, self.random),
            handoff=self._handoff(),
            controls=self.controls,
            reporter=self.reporter,
            clock=self.clock,
            settings=settings,
            stopping=self.stopping,
            random=self.random,
            needed_visibility=needed_visibility(route.delivery.timeout_seconds, visibility, settings),
        )
        return Consumer(
            group.name,
            [self._runner(context, self.backend.queue(url), visibility, expire_only=expire_only) for url in group.urls],
            intake=intake,
            slots=slots,
            workload=WorkloadStats(self.clock),
            clock=self.clock,
            random=self.random,
            visibility_seconds=visibility,
            renew_below=settings.renew_below,
            polling=PollingSettings(
                poll_seconds_for(visibility, settings), settings.poll_gap_seconds, settings.polls_per_queue
            ),
            oldest_received=self.oldest_received,
        )

    def _handoff(self) -> Handoff:
        return Handoff(
            self.resolved.route.key,
            {rung.rung.name: self.backend.queue(rung.url) for rung in self.resolved.rungs},
            self.backend.dead_letters,
            self.backend_retry,
            self.clock,
            linger_seconds=self.settings.handover_linger_seconds,
            redaction=self.resolved.route.redaction,
        )

    def _runner(self, context: LaneContext, queue: Queue, visibility_seconds: int, *, expire_only: bool) -> LaneRunner:
        visibility = VisibilityManager(
            queue,
            clock=self.clock,
            visibility_seconds=visibility_seconds,
            linger_seconds=self.settings.delete_linger_seconds,
        )
        if expire_only:
            return ExpireOnlyRunner(context, visibility)
        if self.resolved.route.ordering is Ordering.STRICT:
            return StrictRunner(context, visibility, self.backend.attempt_records, self.backend_retry)
        return RelaxedRunner(context, visibility)
