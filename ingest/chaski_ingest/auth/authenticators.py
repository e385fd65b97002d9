"""Authentication of producers: by API key, by a ServiceAccount's token, or not at all, as `--auth` chooses."""

import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from chaski_core import __version__
from chaski_core.ports import Clock
from chaski_core.route.model import Producer, Route
from chaski_ingest.auth.peers import PodCount
from chaski_ingest.auth.rate_limit import RateLimits, retry_after
from chaski_ingest.auth.token_review import REVIEW_PATH, Denied, Identity, TokenReviewer, is_jwt_shaped
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess, kube_access, plain_access

_SCHEME = "bearer "
_MAX_CREDENTIAL_CHARACTERS = 8_190
_SHOWN_DIGITS = 8  # of a key's hash, to distinguish keys
_REVIEW_SECONDS = 5.0  # a producer waits for it

_NOT_A_KEY = "the credential is not an API key of this route"
_NOT_A_KEY_OR_TOKEN = "the credential is neither an API key of this route nor a ServiceAccount's token"  # noqa: S105 - a sentence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The request is authenticated; `producer` is stored in each message's metadata."""

    producer: str | None
    debit: Callable[[int], None] | None = None  # debits messages after the first; None: no rate limit
    subjects: tuple[str, ...] = ()  # patterns of the subjects that the producer may send; empty: all


class Authenticator(Protocol):
    """Decides who may send."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        """Authenticates one request by its headers, whose names are case-insensitive."""
        ...


AuthenticatorFactory = Callable[[Clock, PodCount], AbstractAsyncContextManager[Authenticator]]


class AuthMode(StrEnum):
    """How producers authenticate."""

    KUBERNETES = "kubernetes"  # by ServiceAccount token (TokenReview) or API key
    KEYS = "keys"  # by API key only
    NONE = "none"  # not at all


def authenticator_for(mode: AuthMode) -> AuthenticatorFactory:
    """The factory of the mode's authenticator, to be called inside the event loop.

    Raises:
        NoKubeAccessError: no API server is configured, or it needs more than a token or a client certificate.
    """
    if mode is AuthMode.KUBERNETES:
        return partial(_tokens_and_keys, plain_access(kube_access()))
    return _keys if mode is AuthMode.KEYS else _none


@asynccontextmanager
async def _tokens_and_keys(access: KubeAccess, clock: Clock, pods: PodCount) -> AsyncIterator[Authenticator]:
    async with KubeApi(access, user_agent=f"chaski-ingest/{__version__}", timeout_seconds=_REVIEW_SECONDS) as api:
        reviewer = TokenReviewer(lambda review: api.create(REVIEW_PATH, dict(review)), clock)
        yield ProducerAuthenticator(reviewer, RateLimits(clock.monotonic, pods))


@asynccontextmanager
async def _keys(clock: Clock, pods: PodCount) -> AsyncIterator[Authenticator]:
    yield ProducerAuthenticator(None, RateLimits(clock.monotonic, pods))


@asynccontextmanager
async def _none(clock: Clock, pods: PodCount) -> AsyncIterator[Authenticator]:
    del clock, pods
    _log.warning("authentication is off: any client that reaches the port may send")
    yield NoAuthentication()


class NoAuthentication:
    """Admits every program. For one machine, and for clusters where the network decides.

    Requests from web pages are refused: browsers send their origin with each request that writes.
    """

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:  # noqa: ARG002 - the protocol's arguments
        if headers.get("Origin") is not None:
            return Denied(403, "the request comes from a web page; without authentication only programs may send")
        return Authenticated(None)


class ProducerAuthenticator:
    """Admits only the route's `producers`: by API key, or by a ServiceAccount's token.

    Both are sent as `Authorization: Bearer ...`. A route without producers admits no request.

    Args:
        reviewer: checks tokens; None: only API keys are accepted.
        limits: the producers' rate limits.
    """

    def __init__(self, reviewer: TokenReviewer | None, limits: RateLimits) -> None:
        self._reviewer = reviewer
        self._limits = limits

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        credential = bearer_credential(headers)
        if isinstance(credential, Denied):
            return credential
        found = _by_key(credential, route)
        if found is None:
            identity = await self._reviewed(credential)
            if isinstance(identity, Denied):
                return identity
            producer = _by_identity(identity, route)
            if producer is None:
                return Denied(403, f'{identity} is not listed in spec.producers of route "{route.key}"')
            found = producer, f"{identity.namespace}/{identity.service_account}"
        return self._limited(route, *found)

    async def _reviewed(self, credential: str) -> Identity | Denied:
        if self._reviewer is None or not is_jwt_shaped(credential):
            return Denied(401, _NOT_A_KEY_OR_TOKEN if self._reviewer is not None else _NOT_A_KEY)
        return await self._reviewer.identity(credential)

    def _limited(self, route: Route, producer: Producer, name: str) -> Authenticated | Denied:
        if producer.rate_per_second is None:
            return Authenticated(name, subjects=producer.subjects)
        bucket = self._limits.bucket(route.key, producer, producer.rate_per_second)
        wait = bucket.take(1)
        if wait > 0:
            detail = f"{name} is limited to {producer.rate_per_second} messages per second on this route"
            if (pods := self._limits.pods) > 1:
                detail += f", shared by {pods} ingest Pods: spread requests over several connections"
            return Denied(429, detail, retry_after(wait))
        return Authenticated(name, bucket.debit, producer.subjects)


def bearer_credential(headers: Mapping[str, str]) -> str | Denied:
    """The credential of the Authorization header, or why there is none."""
    header = headers.get("Authorization")
    if header is None:
        return Denied(401, "missing credentials; send `Authorization: Bearer` and a token or an API key")
    credential = header[len(_SCHEME) :].strip()
    if header[: len(_SCHEME)].lower() != _SCHEME or not credential:
        return Denied(401, "the Authorization header is not `Bearer` and a token or an API key")
    if len(credential) > _MAX_CREDENTIAL_CHARACTERS:
        return Denied(401, "the credential is too long")
    return credential


def _by_key(credential: str, route: Route) -> tuple[Producer, str] | None:
    """The first producer with that API key, and its name. Every key is compared, in constant time, also after a match."""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
    found = None
    for producer in route.producers:
        for key in producer.api_key_sha256:
            if hmac.compare_digest(key, digest):
                found = found or producer
    if found is None:
        return None
    if found.service_account is not None:
        return found, f"{found.namespace}/{found.service_account}"
    return found, f"key-{digest[:_SHOWN_DIGITS]}"


def _by_identity(identity: Identity, route: Route) -> Producer | None:
    wanted = (identity.namespace, identity.service_account)
    return next((each for each in route.producers if (each.namespace, each.service_account) == wanted), None)
