"""The HTTP clients of a route, one for each allow rule, each with connections of its own."""

import ssl

from aiohttp.abc import AbstractResolver

from chaski_core.route.model import AllowRule
from chaski_worker.addresses import AddressPolicy, MakeSocket, plain_socket, socket_factory
from chaski_worker.connections import Connector
from chaski_worker.exchange import Client
from chaski_worker.resolver import OwnThreadsResolver

# Idle connections are given up before most servers do (5 s in Node.js and uvicorn, longer elsewhere), so that a
# request is hardly ever written to a connection that the server is just closing.
_KEEPALIVE_SECONDS = 4.0


def open_client(rule: AllowRule, factory: MakeSocket, resolver: AbstractResolver, user_agent: str) -> Client:
    """A client for one rule, whose sockets are the factory's. Needs a running loop.

    There is no limit on connections here: the worker's slots are the limit. Waiting for a connection would pass as the
    target's silence.

    Raises:
        ssl.SSLError: the rule's CA bundle holds no certificate.
    """
    connector = Connector(
        limit=0,
        ssl=_tls_context(rule),
        resolver=resolver,
        socket_factory=factory,
        keepalive_timeout=_KEEPALIVE_SECONDS,
    )
    return Client(connector, user_agent)


class Sessions:
    """The clients of one route, opened when first asked for.

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
        self._clients: dict[AllowRule, Client] = {}

    def of(self, rule: AllowRule) -> Client:
        """The rule's client. Raises ssl.SSLError where the rule's CA bundle holds no certificate."""
        client = self._clients.get(rule)
        if client is None:
            factory = socket_factory(rule, self._policy, self._make_socket)
            client = self._clients[rule] = open_client(rule, factory, self._resolver_for(rule), self._user_agent)
        return client

    async def close(self) -> None:
        """Closes every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()
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
