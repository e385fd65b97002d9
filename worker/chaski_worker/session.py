"""The HTTP client sessions, one for each allow rule."""

import ssl

import aiohttp
from aiohttp.abc import AbstractResolver

from chaski_core.route.model import AllowRule
from chaski_worker.addresses import AddressPolicy, MakeSocket, plain_socket, socket_factory
from chaski_worker.connections import Connector
from chaski_worker.resolver import OwnThreadsResolver

# Idle connections are given up before most servers do (5 s in Node.js and uvicorn, longer elsewhere), so that a
# request is hardly ever written to a connection that the server is just closing.
_KEEPALIVE_SECONDS = 4.0
_MAX_LINE_BYTES = 8_190
_MAX_FIELD_BYTES = 8_190
_MAX_HEADERS = 128


class RequestFailedError(Exception):
    """A request that was perhaps sent has failed; `__cause__` is the client's own error."""


def open_session(
    rule: AllowRule, factory: MakeSocket, resolver: AbstractResolver, user_agent: str
) -> aiohttp.ClientSession:
    """A session for one rule, whose sockets are the factory's. Needs a running loop.

    There is no limit on connections here: the worker's slots are the limit. Waiting for a connection would pass as the
    target's silence. Nor is there a timeout: the attempt has one, for everything.

    Raises:
        ssl.SSLError: the rule's CA bundle holds no certificate.
    """
    return aiohttp.ClientSession(
        connector=Connector(
            limit=0,
            ssl=_tls_context(rule),
            resolver=resolver,
            socket_factory=factory,
            keepalive_timeout=_KEEPALIVE_SECONDS,
        ),
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        skip_auto_headers=("Accept", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        trust_env=False,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=_MAX_HEADERS,
        middlewares=(_send_once,),
    )


class Sessions:
    """The sessions of one route, opened when first asked for.

    Args:
        policy: which addresses may be dialled.
        user_agent: sent where the message has none.
        resolver: for every target; the system's if None, in threads of the target's own.
        make_socket: makes a socket for an address that was judged.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        resolver: AbstractResolver | None = None,
        make_socket: MakeSocket = plain_socket,
    ) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._resolver = resolver
        self._make_socket = make_socket
        self._resolvers: list[OwnThreadsResolver] = []
        self._sessions: dict[AllowRule, aiohttp.ClientSession] = {}

    def of(self, rule: AllowRule) -> aiohttp.ClientSession:
        """The rule's session. Raises ssl.SSLError where the rule's CA bundle holds no certificate."""
        session = self._sessions.get(rule)
        if session is None:
            factory = socket_factory(rule, self._policy, self._make_socket)
            session = self._sessions[rule] = open_session(rule, factory, self._resolver_for(rule), self._user_agent)
        return session

    async def close(self) -> None:
        """Closes every connection."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()
        for resolver in self._resolvers:
            await resolver.close()
        self._resolvers.clear()

    def _resolver_for(self, rule: AllowRule) -> AbstractResolver:
        if self._resolver is not None:
            return self._resolver
        resolver = OwnThreadsResolver(rule.name)
        self._resolvers.append(resolver)
        return resolver


def _tls_context(rule: AllowRule) -> ssl.SSLContext | bool:
    if rule.ca_bundle is None:
        return True  # the one context that aiohttp shares: loading the system's certificates takes long
    context = ssl.create_default_context(cadata=rule.ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp sends an idempotent request (GET, HEAD, PUT, DELETE ...) a second time by itself when a kept connection
    # breaks. The target would see a request that no ladder counts. The errors that it does this for are made into one
    # that it passes on.
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise RequestFailedError from error
