"""The last step of an attempt: one HTTP request with its deadline, and its outcome as a value."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType

from chaski_core.message.envelope import HttpRequest
from chaski_core.message.http_rules import header_errors, method_errors, syntax_errors
from chaski_core.message.target_url import TargetUrl
from chaski_core.ports import Clock
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_runtime.http.client import Response
from chaski_runtime.http.request import Headers
from chaski_runtime.process import descriptors
from chaski_worker.delivery.attempt import AttemptContext, Handler, Middleware, own_headers
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.outcomes import classify_error, outcome_of
from chaski_worker.delivery.retry_after import retry_after_seconds
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import DialRecord
from chaski_worker.guard.guard import NO_TARGET, Refusal, RefusalReason, Target
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason, causes, shortage_in, shortage_of

_log = logging.getLogger(__name__)
_MAX_BODY_BYTES = 65_536  # of a response; a longer one is cut off with its connection
_NO_ISSUER = (2, 20)  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and ..._LOCALLY
_ADDRESS_REFUSED = {"ecs": {"event.action": "address-refused"}}
_CACHED_HEADER_SETS = 64  # a producer mostly sends the same, and each may be as large as a message
_LATE_SECONDS = 0.1
_TICKS = 20  # in the time of an attempt: the resolution with which a pause of the process is noticed
_MIN_TICK_SECONDS = 0.1
# A timer that is later than this was held up by a pause; one that is less late, by a busy loop, which must not make
# attempts longer: they would keep their slots the longer the busier the worker is.
_PAUSE_SHARE, _MAX_LAG_SECONDS = 0.25, 1.0
_GRACE_SECONDS = 0.1
_RESOLUTION_SECONDS = 0.001  # of uvloop's timers, which may fire early by half of it


def _ignore(_: RefusalReason) -> None:
    pass


class HttpDeliverer:
    """Makes a route's requests. Every request that a target receives is one call of `deliver`, and no more.

    Args:
        clients: send the requests; closed with the deliverer.
        timeout_seconds: for one whole attempt, from name resolution to the end of the response.
        clock: for times that targets name in headers.
        middlewares: run around each request, outermost first.
        on_refusal: called with the reason of every refused request, and of every refused address of a name that had
            another one.
        on_close: awaited when the deliverer is closed.
    """

    def __init__(
        self,
        clients: TargetClients,
        *,
        timeout_seconds: float,
        clock: Clock,
        middlewares: Sequence[Middleware] = (),
        on_refusal: Callable[[RefusalReason], None] = _ignore,
        on_close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.deliver: Handler = self._deliver
        for middleware in reversed(middlewares):
            self.deliver = _around(self.deliver, middleware)
        self._clients = clients
        self._deadlines = Deadlines(timeout_seconds)
        self._clock = clock
        self._on_refusal = on_refusal
        self._on_close = on_close

    async def close(self) -> None:
        self._deadlines.close()
        for close in self._on_close:
            await close()
        await self._clients.close()

    async def _deliver(self, attempt: AttemptContext) -> Outcome:
        """Sends the request once, to the URL as it was judged. The rest is validated again: queues are not trusted.

        Chaski's own headers replace the message's of the same name.
        """
        target, request = attempt.target, attempt.request
        if isinstance(target, Refusal):
            return self._refused(target, NO_TARGET)
        own = own_headers(attempt)
        refusal = _validate(request.method, request.headers) or _validate_own(own)
        if refusal is not None:
            return self._refused(refusal, target.rule.name)
        # A message can't have a header that is Chaski's; one that a middleware adds, it can.
        given = _without(own, request.headers) if attempt.headers else request.headers
        return await self._send(target, request, [*given, *own, *attempt.message_headers])

    def _refused(self, refusal: Refusal, target: str) -> Outcome:
        self._on_refusal(refusal.reason)
        return Outcome(ErrorClass.REFUSED, detail=refusal.detail, target=target)

    async def _send(self, target: Target, request: HttpRequest, headers: Headers) -> Outcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        response: Response | None = None
        body = bytearray()
        dial = DialRecord()
        token = addresses.current_dial.set(dial)
        try:
            with self._deadlines.start():
                response = await self._clients.of(target.rule).request(
                    request.method, target.url, headers, request.body
                )
                await response.read_into(body, _MAX_BODY_BYTES)
        except Exception as error:
            if response is None:
                if shortage := _shortage(error, dial):
                    dial.refused.clear()  # logged and counted with the attempt that is made
                    raise ShortageError(replace(shortage, target=target.rule.name)) from error
                failed = self._failed(error, target.url, dial)
                return replace(failed, target=target.rule.name, duration_seconds=loop.time() - started)
            # The headers were complete: the status has decided, and the body changes nothing.
        finally:
            addresses.current_dial.reset(token)
            if dial.refused and dial.dialled:
                self._report_refused_addresses(target, dial)
            if response is not None:
                response.close()  # and its connection; where the body was read whole, that is back in the pool
        outcome = outcome_of(response, bytes(body), target.rule.name, loop.time() - started)
        return outcome if outcome.delivered else self._with_wait(outcome, response)

    def _with_wait(self, outcome: Outcome, response: Response) -> Outcome:
        seconds = retry_after_seconds(response.status, response.headers, self._clock.now_ms() / 1000)
        return replace(outcome, retry_after_seconds=seconds) if seconds else outcome

    def _report_refused_addresses(self, target: Target, dial: DialRecord) -> None:
        # The request went to another address; but a public name with a private address is how rebinding begins.
        for address, refusal in dial.refused.items():
            self._on_refusal(refusal.reason)
            _log.warning(
                "address %s of %s was skipped: %s", address, target.url.origin, refusal.detail, extra=_ADDRESS_REFUSED
            )

    def _failed(self, error: Exception, url: TargetUrl, dial: DialRecord) -> Outcome:
        if dial.refused and not dial.dialled:
            address, refusal = next(iter(dial.refused.items()))
            return self._refused(replace(refusal, detail=f"{address} is not dialled: {refusal.detail}"), "")
        if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
            return self._refused(Refusal(RefusalReason.MALFORMED, "the request can't be sent"), "")
        found = classify_error(error, https=url.scheme == "https")
        if found is None:
            _log.error("unexpected internal error during a delivery attempt", exc_info=error)
            found = ErrorClass.CONNECTION, f"unexpected {type(error).__name__}"
        return Outcome(found[0], detail=found[1])


def _around(handler: Handler, middleware: Middleware) -> Handler:
    return lambda attempt: middleware(attempt, handler)


def _shortage(error: Exception, dial: DialRecord) -> Shortage | None:
    if dial.shortage is not None:  # of one address, where no other one could be connected to
        return dial.shortage
    if (shortage := shortage_in(error)) is not None:
        return shortage
    for cause in causes(error):
        # The file with the issuer's certificate could not be opened.
        if getattr(cause, "verify_code", None) in _NO_ISSUER:  # only of a certificate's error
            return shortage_of(ShortageReason.DESCRIPTORS) if descriptors.are_short() else None
    return None


@functools.lru_cache(_CACHED_HEADER_SETS)
def _validate(method: str, headers: tuple[tuple[str, str], ...]) -> Refusal | None:
    if errors := method_errors(method):
        return Refusal(RefusalReason.METHOD, str(errors[0]))
    if errors := header_errors(headers):
        return Refusal(RefusalReason.HEADER, str(errors[0]))
    return None


def _validate_own(headers: Headers) -> Refusal | None:
    errors = syntax_errors(headers)
    return Refusal(RefusalReason.HEADER, str(errors[0])) if errors else None


def _without(own: Headers, given: Headers) -> Headers:
    taken = [name.lower() for name, _ in own]
    return [header for header in given if header[0].lower() not in taken]


class Deadline:
    """A `with` block that raises TimeoutError once it has expired. Made by `Deadlines.start`, entered at once."""

    __slots__ = ("_cancelling_before", "_expired", "_siblings", "_task", "at")

    def __init__(self, siblings: "dict[Deadline, None]", at: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an attempt is made in a task
        self.at = at  # loop time
        self._siblings = siblings
        self._task = task
        self._cancelling_before = task.cancelling()
        self._expired = False

    def __enter__(self) -> None:
        self._siblings[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        del self._siblings[self]
        # As asyncio.timeout does: a cancellation by another caller meanwhile is passed on.
        if self._expired and self._task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancels the task; `__exit__` turns that into a TimeoutError."""
        if not self._expired:
            self._expired = True
            self._task.cancel()


class Deadlines:
    """Makes deadlines that all last `seconds`: a pause of the process is not charged. Needs a running loop once one starts.

    All attempts of a route share one timeout, so deadlines expire in start order and a single timer suffices.
    `asyncio.timeout` will not do: it charges a pause of the process to the attempt, and cancels one whose response arrived
    during the pause but was not read yet (`tests/unit/worker/delivery/test_deadlines.py` shows both). It is not a matter of
    speed: a deadline here takes 1.5 µs, `asyncio.timeout` 4.3 µs, of the 140 to 155 µs of CPU of a delivered message (Python
    3.11, uvloop).
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Deadline, None] = {}  # in the order in which they expire
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # loop time of the timer. Not read from its handle: uvloop's has none where it is due at once
        self._waited = False
        self._tick = max(_MIN_TICK_SECONDS, seconds / _TICKS)
        self._pause = min(_MAX_LAG_SECONDS, seconds * _PAUSE_SHARE)

    def start(self) -> Deadline:
        """A deadline that runs from now on."""
        loop = asyncio.get_running_loop()
        at = loop.time() + self._seconds
        if self._timer is None:
            self._set(loop, min(at, loop.time() + self._tick))
        return Deadline(self._running, at)

    def close(self) -> None:
        """Cancels the timer; running deadlines do not expire any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._due
        if late > self._pause:
            # This process was paused: requests may not have been sent yet.
            for deadline in self._running:
                deadline.at += late
        if late > _LATE_SECONDS and not self._waited:
            # Responses that arrived in time may still be unread, because loops run timers first.
            self._waited = True
            self._set(loop, now + _GRACE_SECONDS)
            return
        self._timer, self._waited = None, False
        for deadline in self._running:
            if deadline.at > now + _RESOLUTION_SECONDS:
                self._set(loop, min(deadline.at, now + self._tick))
                return
            deadline.expire()

    def _set(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._due = at
        self._timer = loop.call_at(at, self._on_timer)
