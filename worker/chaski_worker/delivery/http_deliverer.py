"""One attempt: one HTTP request, and what came of it as a value."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace

from yarl import URL

from chaski_core.message.envelope import HttpRequest
from chaski_core.message.http_rules import header_faults, method_faults, syntax_faults
from chaski_core.message.target_url import TargetUrl
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_status
from chaski_runtime.http.client import Headers, Response
from chaski_runtime.process import descriptors
from chaski_worker.delivery import classify
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.deadlines import Deadlines
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import Dialling
from chaski_worker.guard.guard import Guard, Target
from chaski_worker.guard.refusal import Refusal, RefusalReason
from chaski_worker.observability.redact import excerpt, one_line, shown_origin
from chaski_worker.shortage.classify import Shortage, ShortageError, ShortageReason, causes, shortage_in, shortage_of

MESSAGE_ID = "Chaski-Message-Id"
"""Header of every request: the message's identity, the same for each attempt."""
LABEL = "Chaski-Id"
"""Header of a request whose message has a label: the producer's `id`, or the one that ingest made."""
REPLAY_OF = "Chaski-Replay-Of"
"""Header of a replay: the identity of the message that was accepted first."""

_logger = logging.getLogger(__name__)
_MAX_BODY_BYTES = 65_536  # of an answer; what is longer is cut off with its connection
_MAX_REASON_CHARACTERS = 100
_NO_ISSUER = (2, 20)  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and ..._LOCALLY
_PASSED_OVER = {"ecs": {"event.action": "address-refused"}}
_REMEMBERED = 64  # sets of headers; a producer mostly sends the same, and each may be as large as a message


def _ignore(_: RefusalReason) -> None:
    pass


class HttpDeliverer:
    """Makes a route's requests. Every request that a target sees is one call of `deliver`, and no more.

    Args:
        guard: which URLs may be called.
        sessions: what calls them; closed with the deliverer.
        timeout_seconds: for one attempt in all, from the name's lookup to the end of the answer.
        on_refusal: called with the reason of every request that is not made, and of every address that was passed over
            because the name had a better one.
    """

    def __init__(
        self,
        guard: Guard,
        sessions: TargetClients,
        *,
        timeout_seconds: float,
        on_refusal: Callable[[RefusalReason], None] = _ignore,
    ) -> None:
        self._guard = guard
        self._sessions = sessions
        self._deadlines = Deadlines(timeout_seconds)
        self._on_refusal = on_refusal

    async def deliver(self, request: HttpRequest, headers: Headers = ()) -> Outcome:
        """Sends a request once.

        Args:
            request: what the message asks for; judged anew, since queues are not trusted.
            headers: Chaski's own, which replace the message's of the same name.

        Raises:
            ShortageError: it was not sent, for want of something that is not the target's. That is no attempt.
        """
        verdict = self._guard.check(request.url)
        if isinstance(verdict, Refusal):
            return self._refused(verdict, "none")
        refusal = _judge(request.method, request.headers) or _judge_own(headers)
        if refusal is not None:
            return self._refused(refusal, verdict.rule.name)
        return await self._attempt(verdict, request, _merged(request.headers, headers))

    def target_name(self, url: str) -> str:
        """Name of the first allow rule that covers a URL, or "none"."""
        verdict = self._guard.check(url)
        return verdict.rule.name if isinstance(verdict, Target) else "none"

    async def close(self) -> None:
        """Closes every connection."""
        self._deadlines.close()
        await self._sessions.close()

    def _refused(self, refusal: Refusal, target: str) -> Outcome:
        self._on_refusal(refusal.reason)
        return Outcome(ErrorClass.REFUSED, detail=refusal.detail, target=target)

    async def _attempt(self, target: Target, request: HttpRequest, headers: Headers) -> Outcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        response: Response | None = None
        body = bytearray()
        dialling = Dialling()
        token = addresses.current.set(dialling)
        try:
            with self._deadlines.begin():
                response = await self._sessions.of(target.rule).request(
                    request.method, target.url, headers, request.body
                )
                await response.read_into(body, _MAX_BODY_BYTES)
        except Exception as error:
            if response is None:
                if shortage := _shortage(error, dialling):
                    dialling.refused.clear()  # logged and counted with the attempt that is made
                    raise ShortageError(replace(shortage, target=target.rule.name)) from error
                failed = self._failed(error, target.url, dialling)
                return replace(failed, target=target.rule.name, duration_seconds=loop.time() - started)
            # The headers were complete: the status has decided, and the body changes nothing.
        finally:
            addresses.current.reset(token)
            if dialling.refused and dialling.dialled:
                self._tell_passed_over(target, dialling)
            if response is not None:
                response.close()  # and its connection; where the body was read whole, that is back in the pool
        return _answered(response, bytes(body), target.rule.name, loop.time() - started)

    def _tell_passed_over(self, target: Target, dialling: Dialling) -> None:
        # The request was made to another address; but a public name with a private address is how rebinding begins.
        for address, refusal in dialling.refused.items():
            self._on_refusal(refusal.reason)
            _logger.warning(
                "%s of %s was passed over: %s", address, target.url.origin, refusal.detail, extra=_PASSED_OVER
            )

    def _failed(self, error: Exception, url: TargetUrl, dialling: Dialling) -> Outcome:
        if dialling.refused and not dialling.dialled:
            address, refusal = next(iter(dialling.refused.items()))
            return self._refused(replace(refusal, detail=f"{address} is not dialled: {refusal.detail}"), "")
        if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
            return self._refused(Refusal(RefusalReason.MALFORMED, "not a request that can be sent"), "")
        found = classify.failure(error, https=url.scheme == "https")
        if found is None:
            _logger.error("attempt failed for a reason of our own", exc_info=error)
            found = ErrorClass.CONNECTION, f"unexpected {type(error).__name__}"
        return Outcome(found[0], detail=found[1])


def _shortage(error: Exception, dialling: Dialling) -> Shortage | None:
    if dialling.shortage is not None:  # of one address, where no other one could be connected to
        return dialling.shortage
    if (shortage := shortage_in(error)) is not None:
        return shortage
    for cause in causes(error):
        # The issuer's certificate lies in a file that could not be opened.
        if getattr(cause, "verify_code", None) in _NO_ISSUER:  # not of all: aiohttp's are without it by descent
            return shortage_of(ShortageReason.DESCRIPTORS) if descriptors.are_short() else None
    return None


@functools.lru_cache(_REMEMBERED)
def _judge(method: str, headers: tuple[tuple[str, str], ...]) -> Refusal | None:
    if faults := method_faults(method):
        return Refusal(RefusalReason.METHOD, str(faults[0]))
    if faults := header_faults(headers):
        return Refusal(RefusalReason.HEADER, str(faults[0]))
    return None


def _judge_own(headers: Headers) -> Refusal | None:
    faults = syntax_faults(headers)
    return Refusal(RefusalReason.HEADER, str(faults[0])) if faults else None


def _merged(given: Headers, own: Headers) -> Headers:
    taken = [name.lower() for name, _ in own]
    return [*[header for header in given if header[0].lower() not in taken], *own]


def _answered(response: Response, body: bytes, target: str, seconds: float) -> Outcome:
    error_class = class_of_status(response.status)
    detail = _status_line(response.status, response.reason or "")
    if error_class is ErrorClass.REDIRECT and (location := response.headers.get("Location")):
        detail += f" to {_shown_location(response.url, location)}, not followed"
    elif error_class is ErrorClass.CONNECTION:
        detail += " is no final answer"
    return Outcome(
        error_class,
        status=response.status,
        detail=detail,
        excerpt=excerpt(body, response.headers.get("Content-Encoding")) if body else "",
        target=target,
        duration_seconds=seconds,
    )


@functools.lru_cache(_REMEMBERED)
def _status_line(status: int, reason: str) -> str:
    return f"HTTP {status} {one_line(reason, _MAX_REASON_CHARACTERS)}".rstrip()


def _shown_location(url: TargetUrl, location: str) -> str:
    try:
        return shown_origin(URL(str(url)).join(URL(location)))
    except ValueError:
        return "somewhere unreadable"
