"""How requests reach the API server: `AiohttpTransport` here, `OfficialTransport` in `official`.

Ingest has the first one. It watches one kind and checks tokens with a Pod's ServiceAccount, so that it gains nothing from the
official client, and each of its Pods would pay for it (docs/processes.md).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Generic, Protocol, TypeVar

import aiohttp
import orjson

from chaski_runtime.kube.config import KubeAccess, ReloadedAccess, plain_access

APPLY = "application/apply-patch+yaml"
JSON = "application/json"


def admit_all() -> None:
    """Admits every request."""


class _Admission:
    """Asks for the admission of one request, and keeps the reason against it."""

    def __init__(self, admit: Callable[[], None]) -> None:
        self._admit = admit
        self.refusal: Exception | None = None

    def ask(self) -> None:
        """Raises what `admit` raises."""
        try:
            self._admit()
        except Exception as error:
            self.refusal = error
            raise


_ADMISSION: ContextVar[_Admission | None] = ContextVar("admission", default=None)


@contextmanager
def admission(request: "ApiRequest") -> Iterator[None]:
    """Asks for the admission of a request, and again, by `admission_traces`, immediately before it is written.

    In between it waits for a connection and for its turn in the event loop, and the process may be paused.

    Raises:
        Exception: of `request.admit`; nothing was written.
    """
    asked = _Admission(request.admit)
    asked.ask()
    token = _ADMISSION.set(asked)
    try:
        yield
    except aiohttp.ClientError as error:
        if asked.refusal is not None:  # aiohttp reports it as a failure to send
            raise asked.refusal from error
        raise
    finally:
        _ADMISSION.reset(token)


def admission_traces() -> list[aiohttp.TraceConfig]:
    """What a session needs for `admission`.

    aiohttp calls these hooks before it writes (`http_writer.StreamWriter`): headers wait for the first part of the body, and
    what a hook raises ends the request.
    """

    async def ask(_session: aiohttp.ClientSession, _context: SimpleNamespace, _parameters: object) -> None:
        if (asked := _ADMISSION.get()) is not None:
            asked.ask()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(ask)
    trace.on_request_chunk_sent.append(ask)
    return [trace]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request to an API server."""

    method: str
    path: str  # from `object_path`
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # a JSON value; None: no body
    content_type: str = JSON  # of the body
    admit: Callable[[], None] = admit_all  # called first, and again before it is written; raises to prevent it


class Transport(Protocol):
    """Sends requests of one process to one API server. Nothing is retried."""

    async def send(self, request: ApiRequest, timeouts: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """The response, whatever its status, with its headers read; the caller releases it.

        Args:
            request: what to send.
            timeouts: of this request, until the response was read.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: no response arrived, or the credentials can't be read.
            KubeUnavailableError: the credentials could not be renewed.
        """
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


class _Closable(Protocol):
    async def close(self) -> None: ...


P = TypeVar("P", bound=_Closable)


class ConnectionPools(Generic[P]):
    """The connection pool for new requests; the one before it serves its watches until it is replaced again."""

    def __init__(self) -> None:
        self.current: P | None = None
        self._previous: P | None = None

    async def replace(self, pool: P) -> None:
        """Uses another pool for new requests."""
        unused, self._previous, self.current = self._previous, self.current, pool
        if unused is not None:
            await unused.close()

    async def close(self) -> None:
        """Closes both pools."""
        for pool in (self._previous, self.current):
            if pool is not None:
                await pool.close()


class AiohttpTransport:
    """Implements `Transport` on aiohttp, with a token or a client certificate."""

    def __init__(self, access: KubeAccess, user_agent: str) -> None:
        """Makes no connection yet.

        Raises:
            NoKubeAccessError: the access needs the official client.
        """
        self._access = ReloadedAccess(plain_access(access), plain_access)
        self._headers = {"User-Agent": user_agent, "Accept": JSON}
        self._pools = ConnectionPools[aiohttp.ClientSession]()
        self._connected: KubeAccess | None = None  # the access of the current pool

    async def send(self, request: ApiRequest, timeouts: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        access = self._access.read()
        session = await self._session(access)
        token = access.bearer_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        with admission(request):
            return await session.request(
                request.method,
                access.server + request.path,
                params=request.query,
                data=None if request.body is None else encoded(request),
                headers=headers,
                timeout=timeouts,
            )

    async def close(self) -> None:
        await self._pools.close()

    async def _session(self, access: KubeAccess) -> aiohttp.ClientSession:
        session = self._pools.current
        if session is None or access is not self._connected:
            session = aiohttp.ClientSession(
                # Without a limit: each watch holds a connection, and calls must not wait for one of those to end.
                connector=aiohttp.TCPConnector(ssl=access.ssl_context() or True, limit=0),
                headers=self._headers,
                read_bufsize=2**20,
                trace_configs=admission_traces(),
            )
            self._connected = access
            await self._pools.replace(session)
        return session


# Not printable in YAML, or a line break in a text (https://yaml.org/spec/1.2.2/#51-character-set).
_NOT_IN_YAML = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ufeff\\ufffe\\uffff]")


def encoded(request: ApiRequest) -> bytes:
    """The body as JSON.

    The API server reads the body of a server-side apply as YAML. That has no pairs of surrogates, as which Python's `json`
    writes a character beyond U+FFFF, and no control characters that JSON allows.
    """
    text = orjson.dumps(request.body)
    if request.content_type != APPLY or text.isascii():
        return text.replace(b"\x7f", b"\\u007f")
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()).encode()
