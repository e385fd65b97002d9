"""The HTTP clients of a route, one for each allow rule, each with connections of its own."""

import ssl
from collections.abc import Mapping

from aiohttp.abc import AbstractResolver

from chaski_core.route.model import AllowRule
from chaski_runtime.client import Client
from chaski_runtime.connections import Connector
from chaski_worker.addresses import AddressPolicy, MakeSocket, plain_socket, socket_factory
from chaski_worker.resolver import OwnThreadsResolver
from chaski_worker.tls import ClientCertificate, trusting

# Idle connections are given up before most servers do (5 s in Node.js and uvicorn, longer elsewhere), so that a
# request is hardly ever written to a connection that the server is just closing.
_KEEPALIVE_SECONDS = 4.0
#: Of one answer, in all that it is made of. Far above what is read of a body, and of headers at their largest.
MAX_ANSWER_BYTES = 1_048_576


def open_client(tls: ssl.SSLContext | bool, factory: MakeSocket, resolver: AbstractResolver, user_agent: str) -> Client:
    """A client for one rule, with its TLS and its sockets. Needs a running loop.

    There is no limit on connections here: the worker's slots are the limit. Waiting for a connection would pass as the
    target's silence.
    """
    connector = Connector(
        answer_bytes=MAX_ANSWER_BYTES,
        limit=0,
        ssl=tls,
        resolver=resolver,
        socket_factory=factory,
    )
    return Client(connector, user_agent, idle_seconds=_KEEPALIVE_SECONDS)


_NO_CERTIFICATES: Mapping[AllowRule, ClientCertificate] = {}


class Sessions:
    """The clients of one route, opened when first asked for.

    Args:
        policy: which addresses may be dialled.
        user_agent: sent where the message has none.
        resolver: for every target; the system's if None, in threads of the target's own.
        make_socket: makes a socket for an address that was judged.
        certificates: by rule, what it shows to its target.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        resolver: AbstractResolver | None = None,
        make_socket: MakeSocket = plain_socket,
        certificates: Mapping[AllowRule, ClientCertificate] = _NO_CERTIFICATES,
    ) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._resolver = resolver
        self._make_socket = make_socket
        self._certificates = certificates
        self._resolvers: list[OwnThreadsResolver] = []
        self._clients: dict[AllowRule, Client] = {}

    def of(self, rule: AllowRule) -> Client:
        """The rule's client. Raises ssl.SSLError where the rule's CA bundle holds no certificate."""
        certificate = self._certificates.get(rule) if self._certificates else None
        tls = certificate.context() if certificate else None  # looks whether it was renewed
        client = self._clients.get(rule)
        if client is None:
            factory = socket_factory(rule, self._policy, self._make_socket)
            client = self._clients[rule] = open_client(
                trusting(rule) if tls is None else tls, factory, self._resolver_for(rule), self._user_agent
            )
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
