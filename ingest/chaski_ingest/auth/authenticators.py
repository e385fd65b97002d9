"""Who may send to a route. What decides is chosen by whoever puts the process together."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from chaski_core.route.model import Producer, Route
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.auth.token_review import Denied, Identity, TokenReviewer, looks_like_token

__all__ = ["Authenticated", "Authenticator", "Denied", "NoAuthentication", "ProducerAuthenticator"]

_SCHEME = "bearer "
_MAX_CREDENTIAL_CHARACTERS = 8_190
_SHOWN_DIGITS = 8  # of a key's hash, to tell keys apart


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The request may go on; `producer` is noted in each message's metadata."""

    producer: str | None
    charge: Callable[[int], None] | None = None  # told of messages beyond the first; None: there is no limit


class Authenticator(Protocol):
    """Decides who may send."""

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        """Judges one request by its headers, whose names are looked up case-insensitively."""
        ...


class NoAuthentication:
    """Every program may send. For one machine, and for clusters where the network decides.

    A page that somebody looks at on that machine may not: browsers say on each request that writes where it comes from.
    """

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:  # noqa: ARG002 - the protocol's arguments
        """Admits."""
        if headers.get("Origin") is not None:
            return Denied(403, "the request comes from a web page; without authentication only programs may send")
        return Authenticated(None)


class ProducerAuthenticator:
    """Admits the route's `producers`, and nobody else: by API key, or by a ServiceAccount's token.

    Both are shown as `Authorization: Bearer ...`. A route without producers takes nothing.

    Args:
        reviewer: judges tokens; None: only API keys are taken.
        limits: how many messages a producer may send.
    """

    def __init__(self, reviewer: TokenReviewer | None, limits: RateLimits) -> None:
        self._reviewer = reviewer
        self._limits = limits

    async def authenticate(self, headers: Mapping[str, str], route: Route) -> Authenticated | Denied:
        """Judges one request."""
        credential = _credential(headers)
        if isinstance(credential, Denied):
            return credential
        named = _by_key(credential, route)
        if named is None:
            identity = await self._reviewed(credential)
            if isinstance(identity, Denied):
                return identity
            producer = _by_identity(identity, route)
            if producer is None:
                return Denied(403, f'{identity} may not send to route "{route.key}": its spec.producers lacks it')
            named = producer, f"{identity.namespace}/{identity.service_account}"
        return self._limited(route, *named)

    async def _reviewed(self, credential: str) -> Identity | Denied:
        if self._reviewer is None or not looks_like_token(credential):
            return Denied(401, _NEITHER if self._reviewer is not None else _NO_KEY)
        return await self._reviewer.identity(credential)

    def _limited(self, route: Route, producer: Producer, name: str) -> Authenticated | Denied:
        if producer.rate_per_second is None:
            return Authenticated(name)
        bucket = self._limits.of(route.key, producer, producer.rate_per_second)
        wait = bucket.take(1)
        if wait > 0:
            detail = f"{name} may send {producer.rate_per_second} messages a second to this route, and has sent more"
            return Denied(429, detail, wait)
        return Authenticated(name, bucket.charge)


_NO_KEY = "the credential is no API key of this route"
_NEITHER = "the credential is no API key of this route, nor a ServiceAccount's token"


def _credential(headers: Mapping[str, str]) -> str | Denied:
    given = headers.get("Authorization")
    if given is None:
        return Denied(401, "the request says not who asks; send `Authorization: Bearer` and a token or an API key")
    credential = given[len(_SCHEME) :].strip()
    if given[: len(_SCHEME)].lower() != _SCHEME or not credential:
        return Denied(401, "the Authorization header is not `Bearer` and a token or an API key")
    if len(credential) > _MAX_CREDENTIAL_CHARACTERS:
        return Denied(401, "the credential is too long")
    return credential


def _by_key(credential: str, route: Route) -> tuple[Producer, str] | None:
    """The producer whose API key it is. Every key is compared, in constant time, whichever it is."""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
    found = None
    for producer in route.producers:
        for key in producer.api_key_sha256:
            if hmac.compare_digest(key, digest):
                found = producer
    if found is None:
        return None
    if found.service_account is not None:
        return found, f"{found.namespace}/{found.service_account}"
    return found, f"key-{digest[:_SHOWN_DIGITS]}"


def _by_identity(identity: Identity, route: Route) -> Producer | None:
    wanted = (identity.namespace, identity.service_account)
    return next((each for each in route.producers if (each.namespace, each.service_account) == wanted), None)
