"""The HTTP clients of a route, one for each allow rule, each with connections, TLS and resolver threads of its own.

A CA bundle or a certificate that can't be used is not a failure of the target: the rule's messages wait
(`TargetClients.of`).
"""

import asyncio
import encodings.idna  # noqa: F401 - getaddrinfo imports it at its first name, when a descriptor may be missing for that
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from chaski_core.route.model import AllowRule
from chaski_runtime.http.client import Client
from chaski_runtime.http.connector import Connector, shared_system_tls, system_tls
from chaski_runtime.http.pool import MAX_AGE_SECONDS
from chaski_runtime.process import descriptors
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import AddressTables, MakeSocket, plain_socket, socket_factory
from chaski_worker.shortage.detection import (
    BY_ERRNO,
    Shortage,
    ShortageError,
    ShortageReason,
    has_name_server,
    shortage_in,
    shortage_of,
)

# Idle connections are closed before most servers close them (5 s in Node.js and uvicorn, longer elsewhere), so that a
# request is hardly ever written to a connection that the server is just closing.
_KEEPALIVE_SECONDS = 4.0
#: Of one whole response. Far above the part of a body that is read, and above the largest headers.
MAX_RESPONSE_BYTES = 1_048_576
CERTIFICATE, KEY = "tls.crt", "tls.key"  # keys of a Secret of type kubernetes.io/tls, so names of its files
_THREADS = 4  # per target; started as needed
_RESOLV_CONF = Path("/etc/resolv.conf")
_OF_THE_NAME = (socket.EAI_AGAIN, socket.EAI_NONAME)


def _connected() -> None:
    # Another address was connected: a shortage on the way to the first is over, and later failures are the target's.
    addresses.current_dial.get().shortage = None


def open_client(
    tls: ssl.SSLContext,
    factory: MakeSocket,
    resolver: AbstractResolver,
    user_agent: str,
    max_age_seconds: float = MAX_AGE_SECONDS,
) -> Client:
    """A client for one rule, with its TLS and its sockets. Needs a running loop.

    Connections are not limited: the worker's slots are the limit. Waiting for a connection would be mistaken for the
    target's silence.
    """
    connector = Connector(
        max_response_bytes=MAX_RESPONSE_BYTES,
        tls=tls,
        resolver=resolver,
        socket_factory=factory,
        on_connected=_connected,
    )
    return Client(connector, user_agent, idle_seconds=_KEEPALIVE_SECONDS, max_age_seconds=max_age_seconds)


class ClientCertificate:
    """A TLS context that presents a certificate from a mounted Secret, and loads a renewed one.

    Connections made before keep the old one; they live for a minute at most. Reads nothing yet.
    """

    def __init__(self, rule: AllowRule, folder: Path, monotonic: Callable[[], float]) -> None:
        self._rule = rule
        self._folder = folder
        self._monotonic = monotonic
        self._trusted: ssl.SSLContext | None = None
        self._watched: ReloadedFiles[ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """The context, with the current certificate; where a renewed one can't be used, with the one before.

        Raises:
            OSError: certificate and key can't be read, or don't belong together (ssl.SSLError).
            ValueError: one of them is missing.
        """
        if self._watched is None:
            files = (self._folder / CERTIFICATE, self._folder / KEY)
            self._watched = ReloadedFiles(files, self._load, self._monotonic)
        return self._watched.value()

    def _load(self, contents: Contents) -> ssl.SSLContext:
        if None in contents:
            raise ValueError(f"there is no {CERTIFICATE} or no {KEY} in {self._folder}")
        files = self._folder / CERTIFICATE, self._folder / KEY
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*files)  # on trial: the one in use must stay valid
        if self._trusted is None:
            self._trusted = _context(self._rule)
        self._trusted.load_cert_chain(*files)
        return self._trusted


_NO_CERTIFICATES: Mapping[AllowRule, ClientCertificate] = {}


class TargetClients:
    """The clients of one route, each opened at its first use.

    Args:
        policy: which addresses may be dialled.
        user_agent: sent where the message has none.
        resolver: for every target; if None the system's, in threads of the target's own.
        make_socket: makes a socket for an address that the policy permits.
        certificates: the client certificate of each rule that has one.
        ceiling: descriptor number from which on no connection is made; None: no limit.
        max_age_seconds: how long a connection is used at most.
    """

    def __init__(  # noqa: PLR0913 - settings, each with a reason of its own
        self,
        policy: AddressTables,
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
            return client or self._open(rule, _tls_of(rule) if tls is None else tls)
        except (OSError, ValueError) as error:
            raise ShortageError(_unusable(rule, error)) from error

    async def close(self) -> None:
        """Closes every connection."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()
        for resolver in self._resolvers:
            await resolver.close()
        self._resolvers.clear()

    def _open(self, rule: AllowRule, tls: ssl.SSLContext) -> Client:
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


def _tls_of(rule: AllowRule) -> ssl.SSLContext:
    """TLS that verifies certificates against the rule's own bundle, or the system's. Raises OSError or ValueError."""
    if rule.ca_bundle is None:
        return shared_system_tls()
    return _context(rule)


def _context(rule: AllowRule) -> ssl.SSLContext:
    if rule.ca_bundle is not None and not rule.ca_bundle.isascii():
        raise ValueError("it is not PEM: it has characters other than ASCII")
    if rule.ca_bundle is None:
        return system_tls()
    context = ssl.create_default_context(cadata=rule.ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unusable(rule: AllowRule, error: Exception) -> Shortage:
    """Why nothing can be sent under a rule whose TLS could not be set up."""
    if (shortage := shortage_in(error)) is not None:  # no descriptor to open its files with
        return shortage
    what = "caBundle" if rule.client_cert_secret_name is None else "client certificate, or the caBundle,"
    detail = f'the {what} of targets.allow "{rule.name}" can\'t be used: {error}'
    return Shortage(ShortageReason.CERTIFICATE, detail, rule.name)


class OwnThreadsResolver(AbstractResolver):
    """The system's resolver (getaddrinfo) for one target, in threads of the target's own.

    The loop's default threads are few and shared: one target whose name server hangs would occupy them all, and block
    every other target.

    Args:
        name: of the target.
        resolv_conf: file with the system's name servers.
    """

    def __init__(self, name: str, resolv_conf: Path = _RESOLV_CONF) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"dns-{name}")
        self._resolv_conf = resolv_conf

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a name.

        Raises:
            OSError: it has none, or its name server failed.
            ShortageError: the name server could not be queried.
            RuntimeError: no thread could be started for it.
        """
        infos = await asyncio.get_running_loop().run_in_executor(self._threads, self._getaddrinfo, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Shuts the threads down without waiting for a name server."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _getaddrinfo(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        except socket.gaierror as error:
            if error.errno in _OF_THE_NAME and (shortage := self._hidden_shortage(error)) is not None:
                raise ShortageError(shortage) from error
            raise
        except OSError as error:  # this is how CPython reports EAI_SYSTEM
            reason = BY_ERRNO.get(error.errno or 0, ShortageReason.RESOLVER)
            raise ShortageError(shortage_of(reason, error)) from error

    def _hidden_shortage(self, error: socket.gaierror) -> Shortage | None:
        if descriptors.are_short():
            return shortage_of(ShortageReason.DESCRIPTORS)
        if error.errno == socket.EAI_AGAIN and not self._has_name_server():
            return Shortage(ShortageReason.RESOLVER, f"{self._resolv_conf} names no name server")
        return None

    def _has_name_server(self) -> bool:
        try:
            return has_name_server(self._resolv_conf.read_text(errors="replace"))
        except OSError:
            return False  # the resolver can't read it either
