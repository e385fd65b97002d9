"""The HTTP clients of a route, one for each allow rule, each with connections of its own."""

import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection

from chaski_core.route.model import AllowRule
from chaski_runtime.http.client import Client
from chaski_runtime.http.pool import MAX_AGE_SECONDS
from chaski_runtime.http.transport import Connector
from chaski_worker.delivery.resolver import OwnThreadsResolver
from chaski_worker.delivery.tls import ClientCertificate, trusting, unusable
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import AddressPolicy, MakeSocket, plain_socket, socket_factory
from chaski_worker.shortage.classify import ShortageError

# Idle connections are given up before most servers do (5 s in Node.js and uvicorn, longer elsewhere), so that a
# request is hardly ever written to a connection that the server is just closing.
_KEEPALIVE_SECONDS = 4.0
#: Of one answer, in all that it is made of. Far above what is read of a body, and of headers at their largest.
MAX_ANSWER_BYTES = 1_048_576


class DiallingConnector(Connector):
    """Marks the attempt under way as connected."""

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """As the base."""
        connection = await super().connect(*args, **options)
        addresses.current.get().shortage = None  # another address answered, and what follows is the target's doing
        return connection


def open_client(
    tls: ssl.SSLContext | bool,
    factory: MakeSocket,
    resolver: AbstractResolver,
    user_agent: str,
    max_age_seconds: float = MAX_AGE_SECONDS,
) -> Client:
    """A client for one rule, with its TLS and its sockets. Needs a running loop.

    There is no limit on connections here: the worker's slots are the limit. Waiting for a connection would pass as the
    target's silence.
    """
    connector = DiallingConnector(
        answer_bytes=MAX_ANSWER_BYTES,
        limit=0,
        ssl=tls,
        resolver=resolver,
        socket_factory=factory,
    )
    return Client(connector, user_agent, idle_seconds=_KEEPALIVE_SECONDS, max_age_seconds=max_age_seconds)


_NO_CERTIFICATES: Mapping[AllowRule, ClientCertificate] = {}


class TargetClients:
    """The clients of one route, opened when first asked for.

    Args:
        policy: which addresses may be dialled.
        user_agent: sent where the message has none.
        resolver: for every target; the system's if None, in threads of the target's own.
        make_socket: makes a socket for an address that was judged.
        certificates: by rule, what it shows to its target.
        ceiling: number of a descriptor from which on no connection is made; None: there is none.
        max_age_seconds: how long a connection is used at most.
    """

    def __init__(  # noqa: PLR0913 - settings, each with a reason of its own
        self,
        policy: AddressPolicy,
        *,
        user_agent: str,
        resolver: AbstractResolver | None = None,
        make_socket: MakeSocket = plain_socket,
        certificates: Mapping[AllowRule, ClientCertificate] = _NO_CERTIFICATES,
        ceiling: int | None = None,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._resolver = resolver
        self._make_socket = make_socket
        self._certificates = certificates
        self._ceiling = ceiling
        self._max_age_seconds = max_age_seconds
        self._resolvers: list[OwnThreadsResolver] = []
        self._clients: dict[AllowRule, Client] = {}

    def of(self, rule: AllowRule) -> Client:
        """The rule's client. Raises ShortageError where the rule's CA bundle or certificate can't be used."""
        certificate = self._certificates.get(rule) if self._certificates else None
        try:
            tls = certificate.context() if certificate else None  # reads it again where it was renewed
            client = self._clients.get(rule)
            return client or self._open(rule, trusting(rule) if tls is None else tls)
        except (OSError, ValueError) as error:
            raise ShortageError(unusable(rule, error)) from error

    async def close(self) -> None:
        """Closes every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()
        for resolver in self._resolvers:
            await resolver.close()
        self._resolvers.clear()

    def _open(self, rule: AllowRule, tls: ssl.SSLContext | bool) -> Client:
        factory = socket_factory(rule, self._policy, self._make_socket, self._ceiling)
        client = self._clients[rule] = open_client(
            tls, factory, self._resolver_for(rule), self._user_agent, self._max_age_seconds
        )
        return client

    def _resolver_for(self, rule: AllowRule) -> AbstractResolver:
        if self._resolver is not None:
            return self._resolver
        resolver = OwnThreadsResolver(rule.name)
        self._resolvers.append(resolver)
        return resolver
