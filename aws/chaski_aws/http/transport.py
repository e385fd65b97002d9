"""Calls of AWS JSON actions: signed, sent over pooled connections, read up to a limit, retried where that can help.

Any call may be retried while its effect is unknown, since all calls tolerate it: a SendMessage carries its deduplication
id (all tries together end far within its five minutes), a ReceiveMessage its attempt id, deletes and puts of the same
key are idempotent, and a change of visibility by an expired handle is refused.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

import chaski_core
from chaski_aws.http.credentials import CredentialChain
from chaski_aws.http.endpoints import Endpoint
from chaski_aws.http.responses import CANCELLED, OK, CallFailure, FailureKind, Response, parse_response
from chaski_aws.http.retry import RetryBudget
from chaski_aws.http.signing import Signer
from chaski_core.errors import BackendUnavailableError
from chaski_core.message.target_url import TargetUrl
from chaski_runtime.http.client import Client
from chaski_runtime.http.connector import Connector, shared_system_tls
from chaski_runtime.http.errors import HttpError
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock

OnRequest = Callable[[str, str], None]  # action, result: `ok`, `cancelled`, or a `FailureKind`
CONNECT_SECONDS = 5.0
KEEP_IDLE_SECONDS = 15.0  # below the 20 s or so after which AWS closes an idle connection
TOLERATED_SKEW_SECONDS = 60.0  # AWS tolerates 5 minutes or more; below this the clock is not the cause
MEASURE_SECONDS = 2.0  # timeout of `measure_clock`
_CONNECTION_BYTES = 64 * 1024 * 1024  # of one response including headers; far above every call's own limit
_UNKNOWN_REASON = "the connection failed"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of one try of a call."""

    seconds: float = 10.0  # from the first byte sent to the last byte read
    response_bytes: int = 1_048_576


DEFAULT_LIMITS = CallLimits()


def ignore_request(_action: str, _result: str) -> None:
    """The default `on_request`: does nothing."""


class AwsTransport:
    """Calls one service at one endpoint. One per process and service; its methods may be called concurrently."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialChain,
        *,
        on_request: OnRequest = ignore_request,
        chance: Callable[[], float] = random.random,
        clock: CorrectedClock | None = None,
    ) -> None:
        """Opens nothing yet; must be made inside a running loop.

        Args:
            endpoint: from `resolve_endpoints`.
            credentials: shared by the transports of a process.
            on_request: called with the action and the result of every HTTP request.
            chance: a random number from 0 to below 1, for jitter.
            clock: dates the signatures, and is corrected by every response; shared by the transports of a process.
                None: a new one.
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
        """Closes the connections; pending and later calls fail as if the service were unavailable."""
        self._closed = True
        await self._client.close()

    async def call(self, action: str, fields: Mapping[str, Any], limits: CallLimits = DEFAULT_LIMITS) -> Any:
        """Calls an action; returns the JSON object of the response.

        Raises:
            BackendUnavailableError: unreachable, overloaded, without credentials or invalid responses, after all tries.
            BackendRejectedError: the same call would fail again; `code` as `Service.code_of` spells it.
        """
        body = orjson.dumps(fields)
        tries, repaired = 1, False
        while True:
            credentials = await self._current_credentials()
            signed_at = self._clock.seconds()
            result = await self._try(action, body, credentials, limits)
            if not isinstance(result, CallFailure):
                self._budget.succeeded()
                return result
            if not repaired and await self._repair(result, credentials, signed_at):
                repaired = True
                continue
            delay = self._budget.delay(result.kind, tries, self._chance())
            if delay is None:
                raise result.as_error()
            tries += 1
            await asyncio.sleep(delay)

    async def measure_clock(self) -> None:
        """Reads the service's time from the `Date` of the response to an unsigned request.

        Takes 2 s at most; without a response the clock keeps its offset.
        """
        with contextlib.suppress(HttpError, OSError):
            sent = self._clock.monotonic()
            async with asyncio.timeout(MEASURE_SECONDS):
                response = await self._client.request("GET", self._url, (), None)
            response.close()
            self._clock.observe(response.headers.get("date", ""), sent, decisive=True)

    async def _current_credentials(self) -> ReadOnlyCredentials:
        try:
            return await self._credentials.current()
        except BackendUnavailableError:
            # By a clock that is ahead, new credentials have expired already; with AWS's time the next call accepts them.
            await self.measure_clock()
            raise

    async def _try(self, action: str, body: bytes, credentials: ReadOnlyCredentials, limits: CallLimits) -> Any:
        result: Any = None
        try:
            headers = self._signer(action, credentials).headers(body, self._clock.seconds())
            sent = self._clock.monotonic()
            response = await self._exchange(headers, body, limits)
            result = response if isinstance(response, CallFailure) else self._parse(response, sent)
        except (HttpError, OSError) as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                detail = f"no response to {action} within {limits.seconds:g} s"
                result = CallFailure(FailureKind.TIMEOUT, "Timeout", detail)
            else:
                result = CallFailure(FailureKind.CONNECTION, type(error).__name__, str(error) or _UNKNOWN_REASON)
        finally:
            self._on_request(action, CANCELLED if result is None else _label(result))
        return result

    def _parse(self, response: Response, sent: float) -> Any | CallFailure:
        result = parse_response(self._endpoint.service, response)
        skewed = isinstance(result, CallFailure) and result.kind is FailureKind.SKEWED
        self._clock.observe(response.headers.get("date", ""), sent, decisive=skewed)
        return result

    async def _exchange(self, headers: Mapping[str, str], body: bytes, limits: CallLimits) -> Response | CallFailure:
        if self._closed:
            return CallFailure(FailureKind.CONNECTION, "Closed", "this process has closed its connections")
        data = bytearray()
        async with asyncio.timeout(limits.seconds):
            response = await self._client.request("POST", self._url, tuple(headers.items()), body)
            try:
                await response.read_into(data, limits.response_bytes + 1)
            finally:
                response.close()  # the rest of a longer body is not read
        if len(data) > limits.response_bytes:
            return CallFailure(FailureKind.SERVER, "ResponseTooLong", f"more than {limits.response_bytes} bytes")
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

    async def _repair(self, failure: CallFailure, credentials: ReadOnlyCredentials, signed_at: float) -> bool:
        """Whether the same call can succeed with the corrected clock or with other credentials, which it loads."""
        if failure.kind is FailureKind.SKEWED and abs(self._clock.seconds() - signed_at) > TOLERATED_SKEW_SECONDS:
            return True
        if failure.kind in (FailureKind.SKEWED, FailureKind.CREDENTIALS):  # either can make a signature invalid
            return await self._credentials.replace(credentials) != credentials
        return False


def _service_url(endpoint: Endpoint) -> TargetUrl:
    url = URL(endpoint.url)
    return TargetUrl(url.scheme, url.raw_host or "", url.port or 0, "/")


def _open_client(endpoint: Endpoint) -> Client:
    tls = ssl.create_default_context(cafile=endpoint.ca_bundle) if endpoint.ca_bundle else shared_system_tls()
    connector = Connector(max_response_bytes=_CONNECTION_BYTES, tls=tls)
    agent = f"chaski/{chaski_core.__version__}"
    return Client(
        connector, agent, idle_seconds=KEEP_IDLE_SECONDS, connect_seconds=CONNECT_SECONDS, proxy=endpoint.proxy
    )


def _label(result: Any) -> str:
    return result.kind.value if isinstance(result, CallFailure) else OK
