"""Opens connections: lookup, dialling, TLS, and tunnels through a proxy.

Names are dialled by aiohappyeyeballs, as aiohttp does: the socket factory is called with every single address before it
is dialled, so an address that is judged there is the one that is connected to.
"""

import asyncio
import functools
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import TypeVar

import aiohappyeyeballs
from aiohttp import AddrInfoType, ThreadedResolver
from aiohttp.abc import AbstractResolver

from chaski_runtime.http.connection import HttpConnection
from chaski_runtime.http.errors import (
    ConnectFailedError,
    DisconnectedError,
    HttpError,
    LookupFailedError,
    ProxyRefusedError,
)
from chaski_runtime.http.framing import Phase, ReceivedResponse, ResponseReader
from chaski_runtime.http.lookups import Lookups
from chaski_runtime.http.request import Origin, Proxy, request_head

MakeSocket = Callable[[AddrInfoType], socket.socket]
_NEXT_ADDRESS_SECONDS = 0.25  # after which the next address is dialled as well (RFC 8305 §5)
_PROXY_RESPONSE_BYTES = 65_536  # to CONNECT
_OPENED = 200
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


def system_tls() -> ssl.SSLContext:
    """TLS that verifies certificates against the system's bundle. Raises OSError where that can't be read."""
    # Named, because a default file that can't be opened is ignored without an error.
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context(cafile=paths.cafile, capath=paths.capath)
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def shared_system_tls() -> ssl.SSLContext:
    """The one `system_tls` of the process, not to be changed: loading the system's certificates takes long."""
    return system_tls()


def _connected() -> None:
    pass


class Connector:
    """Opens connections, and closes them all when it is closed. Needs a running loop.

    Args:
        max_response_bytes: of one response on a connection.
        tls: for https origins and proxies.
        resolver: looks names up; None: the system's, in threads of the loop. Not closed here.
        socket_factory: makes the socket for an address that is dialled next, or raises OSError; None: any address.
        on_connected: called after each connection, in the task that wanted it.
    """

    def __init__(
        self,
        *,
        max_response_bytes: int,
        tls: ssl.SSLContext,
        resolver: AbstractResolver | None = None,
        socket_factory: MakeSocket | None = None,
        on_connected: Callable[[], None] = _connected,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._lookups = Lookups(resolver or ThreadedResolver())
        self._socket_factory = socket_factory
        self._on_connected = on_connected
        self._new_connection = functools.partial(HttpConnection, self._loop, max_response_bytes)
        self._connections: weakref.WeakSet[HttpConnection] = weakref.WeakSet()
        self._closed = False

    async def connect(self, origin: Origin, seconds: float | None = None) -> HttpConnection:
        """A new connection, through the origin's proxy where it has one.

        Args:
            origin: the endpoint.
            seconds: for dialling one round of addresses and TLS; None: no limit.

        Raises:
            HttpError, TimeoutError: none could be opened.
            Exception: of the resolver or the socket factory, but for OSError.
        """
        if self._is_closed():
            raise DisconnectedError
        proxy, tls = origin.proxy, self._tls if origin.tls else None
        if proxy is None:
            _, connection = await self._dial(origin.host, origin.port, tls, seconds, self._new_connection)
        elif tls is None:
            to_proxy = self._tls if proxy.tls else None
            _, connection = await self._dial(proxy.host, proxy.port, to_proxy, seconds, self._new_connection)
        else:
            connection = await self._dial_through(proxy, origin, tls, seconds)
        if self._is_closed():  # meanwhile
            connection.close(abort=True)
            raise DisconnectedError
        self._connections.add(connection)
        self._on_connected()
        return connection

    def clear_dns_cache(self) -> None:
        """The next lookup of every name is a new one."""
        self._lookups.forget()

    async def close(self) -> None:
        """Closes every connection, those in use as well."""
        self._closed = True
        self._lookups.close()
        for connection in list(self._connections):
            connection.close(abort=True)

    def _is_closed(self) -> bool:
        return self._closed

    async def _dial(
        self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float | None, protocol: Callable[[], _P]
    ) -> tuple[asyncio.Transport, _P]:
        try:
            addresses = await self._lookups.addresses(host, port)
        except OSError as error:
            if _is_timeout(error):
                raise
            raise LookupFailedError(host, error) from error
        last: Exception = LookupFailedError(host, OSError("it has no address"))
        while addresses:
            made: socket.socket | None = None
            try:
                async with asyncio.timeout(seconds):
                    made = await aiohappyeyeballs.start_connection(
                        addresses,
                        happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
                        loop=self._loop,
                        socket_factory=self._socket_factory,
                    )
                    name = host.rstrip(".") if tls is not None else None  # certificates are for names without the dot
                    return await self._loop.create_connection(protocol, sock=made, ssl=tls, server_hostname=name)
            except OSError as error:
                last = error if _is_timeout(error) else _failed(host, port, error)
                if made is None and not _is_timeout(error):
                    break  # every address failed, and would fail again
                aiohappyeyeballs.pop_addr_infos_interleave(addresses, None)  # one of each family
        raise last

    async def _dial_through(
        self, proxy: Proxy, origin: Origin, tls: ssl.SSLContext, seconds: float | None
    ) -> HttpConnection:
        to_proxy = self._tls if proxy.tls else None
        transport, tunnel = await self._dial(
            proxy.host, proxy.port, to_proxy, seconds, functools.partial(_Tunnel, self._loop)
        )
        connection = self._new_connection()
        try:
            await tunnel.open(transport, origin, proxy)
            async with asyncio.timeout(seconds):
                secured = await self._loop.start_tls(
                    transport, connection, tls, server_hostname=origin.host.rstrip(".")
                )
        except OSError as error:
            transport.close()
            if _is_timeout(error):
                raise
            raise _failed(origin.host, origin.port, error) from error
        except BaseException:
            transport.close()
            raise
        if secured is None:
            raise DisconnectedError
        connection.connection_made(secured)
        return connection


def _is_timeout(error: OSError) -> bool:
    """Whether it is a limit of ours; a timeout of the system has a number."""
    return isinstance(error, TimeoutError) and error.errno is None


def _failed(host: str, port: int, error: OSError) -> ConnectFailedError:
    failed = ConnectFailedError(host, port, error)
    failed.__cause__ = error
    return failed


class _Tunnel(asyncio.Protocol):
    """The connection to a proxy until its tunnel is open (RFC 9110 §9.3.6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = ResponseReader(_PROXY_RESPONSE_BYTES)
        self._response: asyncio.Future[ReceivedResponse] = loop.create_future()

    async def open(self, transport: asyncio.Transport, origin: Origin, proxy: Proxy) -> None:
        """Asks for the tunnel. Raises HttpError or OSError where there is none."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        authority = f"{host}:{origin.port}"
        received = self._reader.start(without_body=True)
        transport.write(request_head(f"CONNECT {authority}", (("Host", authority), *proxy.headers), None))
        await self._response
        if received.status != _OPENED:
            raise ProxyRefusedError(f"the proxy responded {received.status} to CONNECT")

    def data_received(self, data: bytes) -> None:
        if self._response.done():
            return
        try:
            self._reader.feed(data)
        except HttpError as error:
            self._response.set_exception(error)
        else:
            if self._reader.phase is not Phase.HEAD:
                self._response.set_result(self._reader.response)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._response.done():
            self._response.set_exception(exc or DisconnectedError())
