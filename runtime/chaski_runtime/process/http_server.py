"""An HTTP server of aiohttp: start, port, stop, the sockets that a server listens on, and the handler of a probe."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

Check = Callable[[], str | None]  # None: passed; else the reason of the failure
#: The host that means every address of this machine, IPv4 and IPv6: a kubelet probes the Pod's address of either family.
EVERY_ADDRESS = ""
_BOTH_FAMILIES = ((socket.AF_INET, ("0.0.0.0",)), (socket.AF_INET6, ("::",)))  # noqa: S104 - asked for by `EVERY_ADDRESS`
_ABSENT_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_IDLE_SECONDS = 3_630.0  # as aiohttp's default: longer than proxies and scrapers keep a connection
_PORT_TRIES = 20  # a port that is free in one family may be in use in the other
_Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # host, and for IPv6 flow and scope


class HttpServer:
    """A running server; `port` is the actual one where 0 was given, `url` as of `base_url`."""

    def __init__(self, runner: web.AppRunner, host: str) -> None:
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        self.url = base_url(host, self.port)

    async def close(self) -> None:
        """Stops listening, waits for requests under way at most `stop_seconds`, and closes all connections."""
        await self._runner.cleanup()


async def start(  # noqa: PLR0913 - settings of a server, each with a reason of its own
    app: web.Application,
    host: str,
    port: int,
    *,
    stop_seconds: float,
    idle_seconds: float = _IDLE_SECONDS,
    cancel_handlers: bool = False,
    decompress: bool = True,
) -> HttpServer:
    """Serves until closed.

    Args:
        app: what to serve.
        host: address to listen on, or `EVERY_ADDRESS`.
        port: 0 for any free one.
        stop_seconds: how long `close` waits for requests under way.
        idle_seconds: how long a connection is kept between requests.
        cancel_handlers: whether a handler is cancelled when its client disconnects.
        decompress: whether bodies with a Content-Encoding are decompressed before a handler reads them.

    Raises:
        OSError: could not listen on the address.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=stop_seconds,
        keepalive_timeout=idle_seconds,
        handler_cancellation=cancel_handlers,
        auto_decompress=decompress,
    )
    await start_sites(runner, lambda: [web.SockSite(runner, each) for each in listening_sockets(host, port)])
    return HttpServer(runner, host)


async def start_sites(runner: web.AppRunner, sites: Callable[[], Iterable[web.BaseSite]]) -> None:
    """Starts a runner and its sites, or neither: raises what a site raises. `runner.cleanup` stops them."""
    await runner.setup()
    try:
        for site in sites():
            await site.start()
    except BaseException:
        await runner.cleanup()
        raise


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on an address; the same port on each.

    Two sockets for `EVERY_ADDRESS`, so that IPv4 peers keep their own form of address; one where the machine lacks a family.

    Args:
        host: an address or a name, or `EVERY_ADDRESS`.
        port: 0 for any free one.

    Raises:
        OSError: the host is unknown, or the port is in use.
    """
    addresses = _BOTH_FAMILIES if host == EVERY_ADDRESS else _addresses(host)
    for left in range(_PORT_TRIES, 0, -1):
        try:
            return _listen(addresses, port)
        except OSError as error:
            if port or left == 1 or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("unreachable")


def _addresses(host: str) -> Sequence[_Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (address[0], *address[2:])) for family, _, _, _, address in found))


def _listen(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    with contextlib.ExitStack() as on_error:
        for family, address in addresses:
            try:
                made = _bound(family, address, port)
            except OSError as error:
                named = f"can't listen on {address[0]}, port {port}: {(error.strerror or str(error)).lower()}"
                absent = OSError(error.errno, named)
                if error.errno not in _ABSENT_FAMILY:
                    raise absent from error
                continue
            on_error.callback(made.close)
            sockets.append(made)
            port = made.getsockname()[1]
            made.listen()  # now: before, another process could take the port as well
        if not sockets and absent is not None:
            raise absent
        on_error.pop_all()
    return sockets


def _bound(family: socket.AddressFamily, address: tuple[Any, ...], port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address[0], port, *address[1:]))
    except BaseException:
        made.close()
        raise
    return made


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """The URL of a server of this machine, without a path; `EVERY_ADDRESS` includes 127.0.0.1."""
    host = "127.0.0.1" if host == EVERY_ADDRESS else host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def shown_host(host: str) -> str:
    """The host for a message to people."""
    return "every address of this machine" if host == EVERY_ADDRESS else host


def probe_handler(check: Check) -> Handler:
    """Answers a probe: 200, or 503 with the reason."""

    async def handler(_: web.Request) -> web.Response:
        return probe_response(check())

    return handler


def probe_response(reason: str | None) -> web.Response:
    """The response to a probe: 200 where there is no reason against it, else 503 with the reason."""
    if reason is None:
        return web.Response(text="ok\n")
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=reason + "\n")
