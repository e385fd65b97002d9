"""Checks ServiceAccount tokens by the API server's TokenReview, for the audience `chaski` by default.

A token's own claims are read before the review, but only to refuse it: a token that has expired, or that is for another
audience, needs no API server. Results are cached: valid tokens for a minute (and never beyond their expiry), invalid ones
for five seconds. While the API server is unavailable, tokens that are not cached are refused.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from chaski_core.ports import Clock
from chaski_runtime.kube.client import KubeApiError

AUDIENCE = "chaski"
REVIEW_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"

_log = logging.getLogger(__name__)
_PREFIX = "system:serviceaccount:"
_VALID_SECONDS, _INVALID_SECONDS = 60.0, 5.0
_MAX_CACHED = 10_000  # valid and invalid each, so that a flood of invalid tokens evicts no valid one
_MAX_CONCURRENT_REVIEWS = 16  # of unknown tokens
_MAX_CONCURRENT_RENEWALS = 4  # of tokens that were valid before, which forged ones must not delay
_MAX_PENDING = 512  # reviews of each kind that run or wait
_CLOCK_SKEW_SECONDS = 60.0  # within it the API server decides about the expiry
_RETRY_AFTER_SECONDS = 2

Review = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Denied:
    """The request is refused.

    401: not authenticated; 403: not allowed; 429: rate limit exceeded; 503: the check is unavailable.
    """

    status: int
    detail: str
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A ServiceAccount."""

    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"ServiceAccount {self.namespace}/{self.service_account}"


@dataclass(frozen=True, slots=True)
class _Cached:
    result: Identity | Denied
    expires_at: float  # monotonic


class TokenReviewer:
    """Identifies ServiceAccounts by their tokens."""

    def __init__(self, review: Review, clock: Clock, audience: str = AUDIENCE) -> None:
        """Starts with an empty cache.

        Args:
            review: creates one TokenReview and returns the response; raises KubeApiError.
            clock: time.
            audience: for which tokens must be.
        """
        self._review = review
        self._clock = clock
        self._audience = audience
        self._valid: OrderedDict[bytes, _Cached] = OrderedDict()
        self._invalid: OrderedDict[bytes, _Cached] = OrderedDict()
        self._in_progress: dict[bytes, asyncio.Task[Identity | Denied]] = {}
        self._reviews = _ReviewLimit(_MAX_CONCURRENT_REVIEWS)
        self._renewals = _ReviewLimit(_MAX_CONCURRENT_RENEWALS)

    async def identity(self, token: str) -> Identity | Denied:
        """The ServiceAccount of a token, or why the token is refused."""
        claims = _claims(token)
        if isinstance(claims, Denied):
            return claims
        if (denied := self._denied_by_claims(claims)) is not None:
            return denied
        digest = hashlib.sha256(token.encode()).digest()
        for cache in (self._valid, self._invalid):
            cached = cache.get(digest)
            if cached is not None and self._clock.monotonic() < cached.expires_at:
                return cached.result
        task = self._in_progress.get(digest)
        if task is None:  # concurrent requests with the same token share one review
            limit = self._renewals if digest in self._valid else self._reviews
            if limit.pending >= _MAX_PENDING:
                return Denied(503, "too many tokens are waiting to be checked; try again", _RETRY_AFTER_SECONDS)
            task = self._in_progress[digest] = asyncio.create_task(
                self._review_token(token, digest, _expiry(claims), limit)
            )
            task.add_done_callback(lambda _: self._in_progress.pop(digest, None))
        return await asyncio.shield(task)

    def _denied_by_claims(self, claims: Mapping[str, Any]) -> Denied | None:
        if self._audience not in _audiences(claims):
            return _wrong_audience(self._audience)
        if _expiry(claims) + _CLOCK_SKEW_SECONDS < self._clock.now_ms() / 1000:
            return Denied(401, "the token has expired")
        return None

    async def _review_token(self, token: str, digest: bytes, expiry: float, limit: "_ReviewLimit") -> Identity | Denied:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            async with limit.slot():
                status = (await self._review(body)).get("status") or {}
        except KubeApiError as error:
            _log.error("TokenReview failed; answering 503 to requests with a token: %s", error)
            return Denied(503, "tokens can't be checked at the moment; try again", _RETRY_AFTER_SECONDS)
        identity = _identity_of(status, self._audience)
        if isinstance(identity, Denied):
            _store(self._invalid, digest, _Cached(identity, self._clock.monotonic() + _INVALID_SECONDS))
        else:
            left = min(_VALID_SECONDS, expiry - self._clock.now_ms() / 1000)
            _store(self._valid, digest, _Cached(identity, self._clock.monotonic() + left))
        return identity


class _ReviewLimit:
    """Limits concurrent reviews; others wait."""

    def __init__(self, concurrent: int) -> None:
        self.pending = 0  # reviews that wait or run
        self._semaphore = asyncio.Semaphore(concurrent)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a free slot."""
        self.pending += 1
        try:
            async with self._semaphore:
                yield
        finally:
            self.pending -= 1


_INVALID = Denied(401, "the token is not valid")


def is_jwt_shaped(credential: str) -> bool:
    """Whether a credential may be a JWT: three parts of base64url."""
    parts = credential.split(".")
    return len(parts) == 3 and all(part and part.replace("-", "").replace("_", "").isalnum() for part in parts)


def _claims(token: str) -> Mapping[str, Any] | Denied:
    if not token.isascii():
        return _INVALID
    payload = token.split(".")[1]
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return _INVALID
    return claims if isinstance(claims, dict) else _INVALID


def _audiences(claims: Mapping[str, Any]) -> list[Any]:
    audiences = claims.get("aud")
    return audiences if isinstance(audiences, list) else [audiences]


def _expiry(claims: Mapping[str, Any]) -> float:
    expiry = claims.get("exp")
    return float(expiry) if isinstance(expiry, int | float) else 0.0  # a token for an audience always has one


def _wrong_audience(audience: str) -> Denied:
    return Denied(401, f'the token is not for audience "{audience}"')


def _identity_of(status: Mapping[str, Any], audience: str) -> Identity | Denied:
    if status.get("authenticated") is not True:
        _log.info("the API server refused a token: %s", str(status.get("error") or "no reason given")[:300])
        return _INVALID
    if audience not in (status.get("audiences") or ()):  # empty from an authenticator that does not support audiences
        return _wrong_audience(audience)
    username = str((status.get("user") or {}).get("username", ""))
    namespace, colon, name = username.removeprefix(_PREFIX).partition(":")
    if not username.startswith(_PREFIX) or not colon or not namespace or not name:
        return Denied(403, "the token does not belong to a ServiceAccount")
    return Identity(namespace, name)


def _store(cache: OrderedDict[bytes, _Cached], digest: bytes, cached: _Cached) -> None:
    cache[digest] = cached
    cache.move_to_end(digest)
    if len(cache) > _MAX_CACHED:
        cache.popitem(last=False)
