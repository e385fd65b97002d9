"""An attempt as an object, and how one is made: its URL is judged, it waits for a slot, the message must still be hidden.

One attempt crosses these parts in this order; each gets the same `AttemptContext`:

1. `Attempts.make` reads the request from the message and lets the guard judge its URL: once, also for the slot, for holds and
   for the names of targets in logs and metrics.
2. The middlewares, outermost first: tracing (`observability/tracing.py`), signing (`delivery/signing.py`),
   credentials (`credentials/source.py`).
3. `HttpDeliverer` writes the headers, and sends what the guard has judged.

An attempt that a shortage of our own prevents is not charged to the message. Its lane waits in place, with its visibility
extended by the heartbeat and without a slot. Where waiting lanes would keep others from being received, it is parked
instead: its head stays hidden for a while, which keeps its subject in order, and the rest is released. So is a lane whose next
message goes to a host that is held (`hosts/hold_table.py`).
"""

import asyncio
import contextlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from chaski_core.message.envelope import HttpRequest, http_request
from chaski_core.message.identity import is_label
from chaski_core.message.subject import MAX_SUBJECT_CHARACTERS
from chaski_core.ports import Clock
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.timestamps import timestamp
from chaski_core.values import message_value
from chaski_worker.delivery.admission import Admission, HostHeldError, ParkLaneError, ProbeDueError
from chaski_worker.delivery.limits import IntakeLimiter
from chaski_worker.delivery.triage import Deliverable
from chaski_worker.guard.guard import NO_TARGET, Guard, Refusal, Target
from chaski_worker.settings import BACKEND_BACKOFF
from chaski_worker.shortage.detection import ShortageError
from chaski_worker.shortage.reporting import Shortages

MESSAGE_ID = "Chaski-Message-Id"
"""Header of every request: the message's identity, the same for each attempt."""
LABEL = "Chaski-Id"
"""Header of a request whose message has a label: the producer's `id`, or the one that ingest made."""
REPLAY_OF = "Chaski-Replay-Of"
"""Header of a replay: the identity of the message that was accepted first."""
TRACEPARENT = "traceparent"
_PLAIN = re.compile(r"[!-$&-~]+\Z")  # characters of a subject that stay as they are in a header; not the percent sign
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_KEY = re.compile(r"[a-z0-9]{1,16}\Z")  # a status or an error class

_MAX_WAIT_SECONDS = 5.0  # between two tries of a lane that waits in place
_MIN_HIDDEN_SECONDS = 5
_MAX_HIDDEN_SECONDS = 60
_SILENT = frozenset((ErrorClass.TIMEOUT, ErrorClass.CONNECTION, ErrorClass.TLS))  # no response


@message_value
class AttemptContext:
    """One attempt that is about to be made."""

    route: str  # namespace/name
    message_id: str  # the identity
    label: str | None  # None where the message has none that is valid
    replay_of: str | None  # identity of the message that a replay comes from
    number: int  # from 1
    traceparent: str | None  # Chaski's own for the target; a producer's header takes precedence
    request: HttpRequest  # as the message asks for it
    target: Target | Refusal  # the guard's judgement of its URL
    headers: Sequence[tuple[str, str]] = ()  # of middlewares
    message_headers: Sequence[tuple[str, str]] = ()  # see `message_headers`


Handler = Callable[[AttemptContext], Awaitable[Outcome]]
"""Makes one HTTP request; its result is a value. Raises ShortageError where something of our own was short: not an attempt."""

Middleware = Callable[[AttemptContext, Handler], Awaitable[Outcome]]
"""Runs around each attempt: awaits the handler once, with the context or a copy that it has added to.

One that has renewed a credential awaits it a second time."""


def own_headers(attempt: AttemptContext) -> list[tuple[str, str]]:
    """The headers of a request that are Chaski's own, sent beside the producer's and those of `message_headers`.

    `Chaski-Message-Id` is the identity: the same for every attempt of a message and for no other message, so that a target
    can drop repeats. `Chaski-Id` is the label, `Chaski-Replay-Of` the identity of the message that a replay comes from.
    """
    headers = [(MESSAGE_ID, attempt.message_id), ("Chaski-Attempt", str(attempt.number))]
    if attempt.label is not None:
        headers.append((LABEL, attempt.label))
    if attempt.replay_of is not None:
        headers.append((REPLAY_OF, attempt.replay_of))
    if attempt.traceparent and not any(name.lower() == TRACEPARENT for name, _ in attempt.request.headers):
        headers.append((TRACEPARENT, attempt.traceparent))
    return [*headers, *attempt.headers] if attempt.headers else headers


def message_headers(task: Deliverable) -> list[tuple[str, str]]:
    """The headers of a request about its message: what is unknown is left out. Their syntax is valid whatever a queue contains.

    `Chaski-Subject` is the subject in ASCII: spaces, the percent sign and what is not visible ASCII are percent-encoded UTF-8
    (RFC 3986 §2.1). `Chaski-Sequence` is `<generation>.<sequence number of the first queue>`, both increasing: of two messages of
    one subject the later one has the greater pair. `Chaski-Accepted-At` is RFC 3339. `Chaski-Last-Status` is what the attempt
    before this one ended with, a status or an error class.
    """
    headers = []
    subject, metadata = task.envelope.subject, task.envelope.metadata
    if len(subject) <= MAX_SUBJECT_CHARACTERS:  # queue content is not trusted
        encoded = subject if _PLAIN.match(subject) else quote(subject, safe=_SAFE, errors="replace")
        headers.append(("Chaski-Subject", encoded))
    if task.generation and task.sequence_number:
        headers.append(("Chaski-Sequence", f"{task.generation}.{task.sequence_number}"))
    accepted_at = task.queued_at if metadata is None or metadata.accepted_at is None else metadata.accepted_at
    headers.append(("Chaski-Accepted-At", timestamp(accepted_at)))
    if task.ladder is not None and task.ladder.errors and _KEY.match(key := task.ladder.errors[-1].key):
        headers.append(("Chaski-Last-Status", key))
    return headers


@message_value
class AttemptResult:
    """An attempt that was made."""

    number: int  # from 1
    started_at: int  # epoch milliseconds
    outcome: Outcome
    hidden_seconds: int | None = None  # of a failed attempt to a held host: it uses up no retry, and its lane is parked


class Attempts:
    """Makes the attempts of one consumer.

    Args:
        route: namespace/name.
        guard: judges the URLs.
        deliver: makes the requests.
        admission: decides when.
        clock: when an attempt started.
    """

    def __init__(
        self,
        route: str,
        guard: Guard,
        deliver: Handler,
        *,
        admission: Admission,
        clock: Clock,
    ) -> None:
        self._route = route
        self._guard = guard
        self._deliver = deliver
        self._admission = admission
        self._slots = admission.slots
        self._held = admission.holds.held  # empty nearly always
        self._limits = admission.limits
        self._failing = admission.holds.failing  # empty while no host with a breaker fails
        self._clock = clock

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> AttemptResult | None:
        """Attempts a message once.

        Args:
            task: the message.
            before_dialling: awaited once a slot is taken; returns False where the attempt must not be made any more,
                and raises where the lane is lost.

        Returns:
            None where `before_dialling` returned False, or the lease of the limit has expired while it ran.

        Raises:
            SaturatedError: the lane should be parked instead of waiting for a slot.
            HostHeldError: the lane should be parked, because the host is held, or its limit is reached.
            ProbeDueError: the lane should wait until a probe of a held host is due, and then try again.
            ShortageError: no attempt was made, because something of our own was short.
        """
        number = 1 if task.ladder is None else task.ladder.attempts + 1
        try:
            request = http_request(task.envelope.body)
        except ValueError as error:
            return AttemptResult(number, self._clock.now_ms(), Outcome(ErrorClass.REFUSED, detail=str(error)))
        attempt = self._context(task, number, request)
        judged = attempt.target
        slots, host, answered = self._slots, judged.host if isinstance(judged, Target) else NO_TARGET, None
        hidden_seconds = started_at = None
        gate = None if self._limits is None else self._admission.gate_of(judged)
        if gate is None and not self._held and slots.take_free(host):
            permit = None
        else:
            permit = await self._admission.take_turn(judged, host, gate)
        try:
            if not await before_dialling() or (gate is not None and not gate.is_usable):
                return None
            started_at = self._clock.now_ms()
            outcome = await self._deliver(attempt)
            answered = outcome.error_class not in _SILENT
            if outcome.error_class is not None or self._failing:
                hidden_seconds = self._admission.observe(outcome, judged, permit)
            slots.observe(outcome.duration_seconds)
        finally:
            slots.release(host, answered=answered)
            if gate is not None:
                gate.release(attempted=started_at is not None)
            if permit is not None:
                self._admission.give_back(permit)
        return AttemptResult(number, started_at, outcome, hidden_seconds)

    def target_of(self, url: str) -> str:
        """Name of the first allow rule that covers the URL of a message that is not attempted, or "none"."""
        judged = self._guard.check(url)
        return judged.rule.name if isinstance(judged, Target) else NO_TARGET

    def _context(self, task: Deliverable, number: int, request: HttpRequest) -> AttemptContext:
        label = replay_of = traceparent = None
        if (metadata := task.envelope.metadata) is not None:
            replay_of, traceparent = metadata.replay_of, metadata.traceparent
            if metadata.id is not None and is_label(metadata.id):  # queue content is not trusted
                label = metadata.id
        target = self._guard.check(request.url)
        about = message_headers(task)
        return AttemptContext(
            self._route, task.message_id, label, replay_of, number, traceparent, request, target, message_headers=about
        )


class ShortageRetry:
    """Makes attempts, and retries while a shortage of our own prevents them.

    Args:
        attempts: makes them.
        shortages: reports each shortage.
        intake: whether a lane that waits for a shortage to end should be parked for the sake of others.
        stopping: is set when the worker stops.
        random: in [0, 1).
    """

    def __init__(
        self,
        attempts: Attempts,
        shortages: Shortages,
        intake: IntakeLimiter,
        stopping: asyncio.Event,
        random: Callable[[], float],
    ) -> None:
        self._attempts = attempts
        self._shortages = shortages
        self._intake = intake
        self._stopping = stopping
        self._random = random
        self._waiting = 0  # lanes that wait for the probe of a held host
        self.target_of = attempts.target_of

    async def make(self, task: Deliverable, before_dialling: Callable[[], Awaitable[bool]]) -> AttemptResult | None:
        """Attempts a message once: as `Attempts.make`, but waits for a shortage to end.

        Returns:
            None where `before_dialling` returned False, or the worker stops.

        Raises:
            SaturatedError: the lane should be parked instead of waiting for a slot.
            ParkLaneError: the lane should be parked instead of waiting for a shortage to end, or for a held host.
            LaneLostError: the lane was lost meanwhile.
        """
        failures = 0
        while True:
            try:
                return await self._attempts.make(task, before_dialling)
            except ProbeDueError as error:
                if await self._wait_for_probe(error.seconds):
                    continue
                return None
            except ShortageError as error:
                shortage = error.shortage
            failures += 1
            lasted = self._shortages.observe(shortage)
            if self._intake.is_crowded(shortage):
                raise ParkLaneError(hidden_seconds(lasted))
            await self._pause(min(_MAX_WAIT_SECONDS, BACKEND_BACKOFF.equal_jitter(failures, self._random())))
            if self._stopping.is_set():
                return None

    async def _wait_for_probe(self, seconds: float) -> bool:
        """Waits in place; whether the worker goes on. Lanes that do so may take a quarter of the lanes at most."""
        if self._intake.full or self._waiting * 4 >= self._intake.max_lanes:
            raise HostHeldError(max(1, math.ceil(seconds)))
        self._waiting += 1
        try:
            await self._pause(seconds)
        finally:
            self._waiting -= 1
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def hidden_seconds(lasted: float) -> int:
    """For how long a lane is parked when a shortage has lasted `lasted` seconds: half of that, from 5 s to 60 s."""
    return round(min(_MAX_HIDDEN_SECONDS, max(_MIN_HIDDEN_SECONDS, lasted / 2)))
