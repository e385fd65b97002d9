"""One AWS JSON call: signed, sent over kept connections, read up to a cap, tried again where that may help.

Any call may be repeated after its effect is unknown, since every caller's calls bear it: a SendMessage carries its
deduplication id (all tries together end far within its five minutes), a ReceiveMessage its attempt id, deletes and
puts of the same key are idempotent, and a change of visibility by a handle that lost its message is refused.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

import chaski_core
from chaski_aws.answers import CANCELLED, OK, Answer, Kind, Problem, read_answer
from chaski_aws.credentials import CredentialSource
from chaski_aws.endpoints import Endpoint
from chaski_aws.retrying import RetryBudget
from chaski_aws.signing import Signer
from chaski_runtime.client import Client
from chaski_runtime.connections import Connector

OnRequest = Callable[[str, str], None]  # action, result: `ok`, `cancelled`, or a `Kind`
CONNECT_SECONDS = 5.0
KEEP_IDLE_SECONDS = 15.0  # below the 20 s or so after which AWS closes an idle connection
TOLERATED_SKEW_SECONDS = 60.0  # AWS tolerates 5 minutes or more; below this the clock is not the cause
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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens nothing yet; must be made inside a running loop.

        Args:
            endpoint: from `resolve_endpoint`.
            credentials: shared by the transports of a process.
            on_request: told the action and the result of every HTTP request.
            chance: a random number from 0 to below 1, for jitter.
            wall_clock: epoch seconds.
        """
        self._endpoint = endpoint
        self._credentials = credentials
        self._on_request = on_request
        self._chance = chance
        self._wall_clock = wall_clock
        self._url = URL(endpoint.url).with_path("/")
        self._budget = RetryBudget()
        self._skew = 0.0  # seconds that AWS is ahead of this machine's clock
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
            credentials = await self._credentials.current()
            result = await self._try(action, body, credentials, limits)
            if not isinstance(result, Problem):
                self._budget.succeeded()
                return result
            if not repaired and await self._repaired(result, credentials):
                repaired = True
                continue
            delay = self._budget.delay(result.kind, tries, self._chance())
            if delay is None:
                raise result.as_error()
            tries += 1
            await asyncio.sleep(delay)

    async def _try(self, action: str, body: bytes, credentials: ReadOnlyCredentials, limits: CallLimits) -> Any:
        result: Any = None
        try:
            headers = self._signer(action, credentials).headers(body, self._wall_clock() + self._skew)
            answer = await self._exchange(headers, body, limits)
            result = answer if isinstance(answer, Problem) else read_answer(self._endpoint.service, answer)
        except TimeoutError:  # aiohttp's are both this and ClientError
            result = Problem(Kind.TIMEOUT, "Timeout", f"{action} was not answered within {limits.seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            result = Problem(Kind.CONNECTION, type(error).__name__, str(error) or _UNKNOWN_REASON)
        finally:
            self._on_request(action, CANCELLED if result is None else _label(result))
        return result

    async def _exchange(self, headers: Mapping[str, str], body: bytes, limits: CallLimits) -> Answer | Problem:
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
        return Answer(response.status, response.headers, bytes(data))

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

    async def _repaired(self, problem: Problem, credentials: ReadOnlyCredentials) -> bool:
        """Whether another clock or other credentials make the same call worth repeating."""
        if problem.kind is Kind.SKEWED and problem.server_date:
            ahead = _seconds_ahead(problem.server_date, self._wall_clock())
            if ahead is not None and abs(ahead - self._skew) > TOLERATED_SKEW_SECONDS:
                self._skew = ahead
                return True
        if problem.kind in (Kind.SKEWED, Kind.CREDENTIALS):  # a signature is wrong for a clock or for a key
            return await self._credentials.replace(credentials) != credentials
        return False


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


def _seconds_ahead(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return None
