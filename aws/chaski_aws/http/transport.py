"""One AWS JSON call: signed, sent over kept connections, read up to a cap, tried again where that may help.

Any call may be repeated after its effect is unknown, since every caller's calls bear it: a SendMessage carries its
deduplication id (all tries together end far within its five minutes), a ReceiveMessage its attempt id, deletes and
puts of the same key are idempotent, and a change of visibility by a handle that lost its message is refused.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

import chaski_core
from chaski_aws.http.credentials import CredentialSource
from chaski_aws.http.endpoints import Endpoint
from chaski_aws.http.responses import CANCELLED, OK, Kind, Problem, Response, read_answer
from chaski_aws.http.retry import RetryBudget
from chaski_aws.http.signing import Signer
from chaski_core.errors import BackendUnavailableError
from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.client import Client
from chaski_runtime.http.transport import Connector
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock

OnRequest = Callable[[str, str], None]  # action, result: `ok`, `cancelled`, or a `Kind`
CONNECT_SECONDS = 5.0
KEEP_IDLE_SECONDS = 15.0  # below the 20 s or so after which AWS closes an idle connection
TOLERATED_SKEW_SECONDS = 60.0  # AWS tolerates 5 minutes or more; below this the clock is not the cause
MEASURE_SECONDS = 2.0  # that AWS gets to say what time it is; a process does not wait longer for it
_CONNECTION_BYTES = 64 * 1024 * 1024  # of one answer with all that it is made of; far above every call's own limit
_UNKNOWN_REASON = "the connection failed"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one try of a call may take."""

    seconds: float = 10.0  # from the first byte sent to the last byte read
    answer_bytes: int = 1_048_576


DEFAULT_LIMITS = CallLimits()


def ignore_request(_action: str, _result: str) -> None:
    """Counts nothing."""


class AwsTransport:
    """Calls one service at one endpoint. One for a process and service; its methods may be called side by side."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialSource,
        *,
        on_request: OnRequest = ignore_request,
        chance: Callable[[], float] = random.random,
        clock: CorrectedClock | None = None,
    ) -> None:
        """Opens nothing yet; must be made inside a running loop.

        Args:
            endpoint: from `resolve_endpoint`.
            credentials: shared by the transports of a process.
            on_request: told the action and the result of every HTTP request.
            chance: a random number from 0 to below 1, for jitter.
            clock: dates the signatures, and learns from every answer; shared by the transports of a process. None: one
                of its own.
        """
        self._endpoint = endpoint
        self._credentials = credentials
        self._on_request = on_request
        self._chance = chance
        self._clock = clock or CorrectedClock(SystemClock())
        self._url = _service_url(endpoint)
        self._budget = RetryBudget()
        self._signers: dict[str, Signer] = {}
        self._signers_of: ReadOnlyCredentials | None = None
        self._client = _open_client(endpoint)
        self._closed = False

    async def close(self) -> None:
        """Closes the connections; calls under way and later ones fail as if the service were away."""
        self._closed = True
        await self._client.close()

    async def call(self, action: str, fields: Mapping[str, Any], limits: CallLimits = DEFAULT_LIMITS) -> Any:
        """Calls an action; returns the JSON object of the answer.

        Raises:
            BackendUnavailableError: away, overloaded, out of credentials or answering nonsense, after every try.
            BackendRejectedError: refused for good; `code` as `Service.code_of` spells it.
        """
        body = orjson.dumps(fields)
        tries, repaired = 1, False
        while True:
            credentials = await self._current_credentials()
            signed_at = self._clock.seconds()
            result = await self._try(action, body, credentials, limits)
            if not isinstance(result, Problem):
                self._budget.succeeded()
                return result
            if not repaired and await self._repaired(result, credentials, signed_at):
                repaired = True
                continue
            delay = self._budget.delay(result.kind, tries, self._chance())
            if delay is None:
                raise result.as_error()
            tries += 1
            await asyncio.sleep(delay)

    async def measure_clock(self) -> None:
        """Learns the service's time by a request without a signature, whose answer has a `Date` whatever it says.

        Takes 2 s at most; where there is no answer, what is known of the time stays as it is.
        """
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            sent = self._clock.monotonic()
            async with asyncio.timeout(MEASURE_SECONDS):
                response = await self._client.request("GET", self._url, (), None)
            response.close()
            self._clock.observe(response.headers.get("date", ""), sent, decisive=True)

    async def _current_credentials(self) -> ReadOnlyCredentials:
        try:
            return await self._credentials.current()
        except BackendUnavailableError:
            # By a clock that is ahead, new credentials have ended already; with AWS's time the next call finds them.
            await self.measure_clock()
            raise

    async def _try(self, action: str, body: bytes, credentials: ReadOnlyCredentials, limits: CallLimits) -> Any:
        result: Any = None
        try:
            headers = self._signer(action, credentials).headers(body, self._clock.seconds())
            sent = self._clock.monotonic()
            answer = await self._exchange(headers, body, limits)
            result = answer if isinstance(answer, Problem) else self._read(answer, sent)
        except TimeoutError:  # aiohttp's are both this and ClientError
            result = Problem(Kind.TIMEOUT, "Timeout", f"{action} was not answered within {limits.seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            result = Problem(Kind.CONNECTION, type(error).__name__, str(error) or _UNKNOWN_REASON)
        finally:
            self._on_request(action, CANCELLED if result is None else _label(result))
        return result

    def _read(self, answer: Response, sent: float) -> Any | Problem:
        result = read_answer(self._endpoint.service, answer)
        skewed = isinstance(result, Problem) and result.kind is Kind.SKEWED
        self._clock.observe(answer.headers.get("date", ""), sent, decisive=skewed)
        return result

    async def _exchange(self, headers: Mapping[str, str], body: bytes, limits: CallLimits) -> Response | Problem:
        if self._closed:
            return Problem(Kind.CONNECTION, "Closed", "this process has closed its connections")
        data = bytearray()
        async with asyncio.timeout(limits.seconds):
            response = await self._client.request("POST", self._url, tuple(headers.items()), body)
            try:
                await response.read_into(data, limits.answer_bytes + 1)
            finally:
                response.close()  # what is longer is not read
        if len(data) > limits.answer_bytes:
            return Problem(Kind.SERVER, "AnswerTooLong", f"more than {limits.answer_bytes} bytes")
        return Response(response.status, response.headers, bytes(data))

    def _signer(self, action: str, credentials: ReadOnlyCredentials) -> Signer:
        if credentials is not self._signers_of:
            self._signers_of = credentials
            self._signers = {}
        signer = self._signers.get(action)
        if signer is None:
            headers = {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"{self._endpoint.service.target_prefix}.{action}",
            }
            signer = self._signers[action] = Signer(self._endpoint, credentials, headers)
        return signer

    async def _repaired(self, problem: Problem, credentials: ReadOnlyCredentials, signed_at: float) -> bool:
        """Whether another clock or other credentials make the same call worth repeating."""
        if problem.kind is Kind.SKEWED and abs(self._clock.seconds() - signed_at) > TOLERATED_SKEW_SECONDS:
            return True
        if problem.kind in (Kind.SKEWED, Kind.CREDENTIALS):  # a signature is wrong for a clock or for a key
            return await self._credentials.replace(credentials) != credentials
        return False


def _service_url(endpoint: Endpoint) -> TargetUrl:
    url = URL(endpoint.url)
    return TargetUrl(url.scheme, url.raw_host or "", url.port or 0, "/")


def _open_client(endpoint: Endpoint) -> Client:
    verify: ssl.SSLContext | bool = (
        ssl.create_default_context(cafile=endpoint.ca_bundle) if endpoint.ca_bundle else True
    )
    connector = Connector(
        answer_bytes=_CONNECTION_BYTES,
        limit=0,  # callers are bounded
        ssl=verify,
    )
    agent = f"chaski/{chaski_core.__version__}"
    return Client(
        connector, agent, idle_seconds=KEEP_IDLE_SECONDS, connect_seconds=CONNECT_SECONDS, proxy=endpoint.proxy
    )


def _label(result: Any) -> str:
    return result.kind.value if isinstance(result, Problem) else OK
