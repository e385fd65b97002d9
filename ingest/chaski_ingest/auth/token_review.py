"""ServiceAccount tokens, judged by the API server's TokenReview for the audience `chaski`.

A token is looked into before it is asked about, but only to refuse it: what says itself that it has expired, or is for
somebody else, needs no API server. What the API server said is remembered: for a minute where it said yes (and never
beyond the token's own end), for five seconds where it said no. Where it can't be asked, nobody is let in.
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
_YES_SECONDS, _NO_SECONDS = 60.0, 5.0
_MAX_REMEMBERED = 10_000  # of each kind; a sound token is never pushed out by a flood of broken ones
_MAX_REVIEWS_AT_ONCE = 16  # of tokens that nothing is known of
_MAX_RENEWALS_AT_ONCE = 4  # of tokens that were valid before, which made-up ones must not hold up
_MAX_WAITING = 512  # reviews of each kind that run or wait for their turn
_CLOCK_SKEW_SECONDS = 60.0  # of which the API server is the judge
_RETRY_AFTER_SECONDS = 2

Review = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Denied:
    """The request may not go on.

    401: it says too little about who asks; 403: that one may not; 429: not so much; 503: it can't be told now.
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
class _Verdict:
    identity: Identity | Denied
    until: float  # monotonic


class TokenReviewer:
    """Asks the API server who a token belongs to."""

    def __init__(self, review: Review, clock: Clock) -> None:
        """Asks nothing yet.

        Args:
            review: sends one TokenReview and returns what came back; raises KubeApiError.
            clock: time.
        """
        self._review = review
        self._clock = clock
        self._known: OrderedDict[bytes, _Verdict] = OrderedDict()
        self._refused: OrderedDict[bytes, _Verdict] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Identity | Denied]] = {}
        self._reviews = _Turns(_MAX_REVIEWS_AT_ONCE)
        self._renewals = _Turns(_MAX_RENEWALS_AT_ONCE)

    async def identity(self, token: str) -> Identity | Denied:
        """Whose token it is, or why it is not taken."""
        claims = _claims(token)
        if isinstance(claims, Denied):
            return claims
        if (refusal := self._refusal(claims)) is not None:
            return refusal
        digest = hashlib.sha256(token.encode()).digest()
        for remembered in (self._known, self._refused):
            verdict = remembered.get(digest)
            if verdict is not None and self._clock.monotonic() < verdict.until:
                return verdict.identity
        task = self._asking.get(digest)
        if task is None:  # requests that come while it is asked about wait for the same answer
            turns = self._renewals if digest in self._known else self._reviews
            if turns.waiting >= _MAX_WAITING:
                return Denied(503, "too many tokens wait to be checked; ask again", _RETRY_AFTER_SECONDS)
            task = self._asking[digest] = asyncio.create_task(self._ask(token, digest, _end_of(claims), turns))
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(task)

    def _refusal(self, claims: Mapping[str, Any]) -> Denied | None:
        if AUDIENCE not in _audiences(claims):
            return Denied(401, f'the token is not for audience "{AUDIENCE}"')
        if _end_of(claims) + _CLOCK_SKEW_SECONDS < self._clock.now_ms() / 1000:
            return Denied(401, "the token has expired")
        return None

    async def _ask(self, token: str, digest: bytes, end: float, turns: "_Turns") -> Identity | Denied:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            async with turns.one():
                status = (await self._review(body)).get("status") or {}
        except KubeApiError as error:
            _log.error("tokens can't be judged, so requests that show one are answered 503: %s", error)
            return Denied(503, "tokens can't be checked at the moment; ask again", _RETRY_AFTER_SECONDS)
        identity = _identity_of(status)
        if isinstance(identity, Denied):
            _remember(self._refused, digest, _Verdict(identity, self._clock.monotonic() + _NO_SECONDS))
        else:
            left = min(_YES_SECONDS, end - self._clock.now_ms() / 1000)
            _remember(self._known, digest, _Verdict(identity, self._clock.monotonic() + left))
        return identity


class _Turns:
    """So many at once; the others wait."""

    def __init__(self, at_once: int) -> None:
        self.waiting = 0  # those whose turn it is included
        self._semaphore = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Waits for a turn."""
        self.waiting += 1
        try:
            async with self._semaphore:
                yield
        finally:
            self.waiting -= 1


_INVALID = Denied(401, "the token is not valid")


def looks_like_token(credential: str) -> bool:
    """Whether it may be a JWT: three parts of base64url."""
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


def _end_of(claims: Mapping[str, Any]) -> float:
    end = claims.get("exp")
    return float(end) if isinstance(end, int | float) else 0.0  # a token for an audience always has an end


def _identity_of(status: Mapping[str, Any]) -> Identity | Denied:
    if status.get("authenticated") is not True:
        _log.info("a token was refused by the API server: %s", str(status.get("error") or "no reason given")[:300])
        return _INVALID
    if AUDIENCE not in (status.get("audiences") or ()):  # an authenticator that knows of no audiences leaves it empty
        return Denied(401, f'the token is not for audience "{AUDIENCE}"')
    username = str((status.get("user") or {}).get("username", ""))
    namespace, colon, name = username.removeprefix(_PREFIX).partition(":")
    if not username.startswith(_PREFIX) or not colon or not namespace or not name:
        return Denied(403, "the token is no ServiceAccount's")
    return Identity(namespace, name)


def _remember(where: OrderedDict[bytes, _Verdict], digest: bytes, verdict: _Verdict) -> None:
    where[digest] = verdict
    where.move_to_end(digest)
    if len(where) > _MAX_REMEMBERED:
        where.popitem(last=False)
