"""One AWS JSON call: signed, sent over kept connections, read up to a cap, tried again where that may help.

Any call may be repeated after its effect is unknown, since every caller's calls bear it: a SendMessage carries its
deduplication id (all tries together end far within its five minutes), a ReceiveMessage its attempt id, deletes and
puts of the same key are idempotent, and a change of visibility by a handle that lost its message is refused.
"""

import asyncio
import io
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

OnRequest = Callable[[str, str], None]  # action, result: `ok`, `cancelled`, or a `Kind`
CONNECT_SECONDS = 5.0
KEEP_IDLE_SECONDS = 15.0  # below the 20 s or so after which AWS closes an idle connection
TOLERATED_SKEW_SECONDS = 60.0  # AWS tolerates 5 minutes or more; below this the clock is not the cause
_LONG_BODY_BYTES = 262_144
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
        self._session = _open_http(endpoint)

    async def close(self) -> None:
        """Closes the connections; calls under way and later ones fail as if the service were away."""
        await self._session.close()

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
        if self._session.closed:
            return Problem(Kind.CONNECTION, "Closed", "this process has closed its connections")
        timeout = aiohttp.ClientTimeout(total=limits.seconds, sock_connect=CONNECT_SECONDS)
        async with self._session.post(
            self._url,
            data=_payload(body),
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            proxy=self._endpoint.proxy,
        ) as response:
            told = response.content_length
            if told is not None and told <= limits.answer_bytes:
                data = await response.read()
            else:
                data = await _read_up_to(limits.answer_bytes, response)
            if len(data) > limits.answer_bytes or (told or 0) > limits.answer_bytes:
                response.close()  # what follows is not read
                return Problem(Kind.SERVER, "AnswerTooLong", f"more than {limits.answer_bytes} bytes")
            return Answer(response.status, response.headers, data)

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


def _open_http(endpoint: Endpoint) -> aiohttp.ClientSession:
    verify: ssl.SSLContext | bool = (
        ssl.create_default_context(cafile=endpoint.ca_bundle) if endpoint.ca_bundle else True
    )
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_IDLE_SECONDS, ssl=verify),  # callers are bounded
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"chaski/{chaski_core.__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


def _payload(body: bytes) -> aiohttp.Payload:
    # Named outright, since aiohttp would search for the kind of body at every call; and long ones are
    # written in pieces, so that they do not hold up the loop.
    return aiohttp.BytesPayload(body) if len(body) <= _LONG_BODY_BYTES else aiohttp.BytesIOPayload(io.BytesIO(body))


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    """At most `limit` bytes and what one more read brings."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


def _label(result: Any) -> str:
    return result.kind.value if isinstance(result, Problem) else OK


def _seconds_ahead(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return None
