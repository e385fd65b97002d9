"""Access tokens by OAuth 2.0 client credentials (RFC 6749 §4.4), cached until shortly before they expire.

The token endpoint is called through the guard, by a client of its own, under a rule that covers only its URL. A token that
can't be had is not a failure of the target: the rule's messages wait, and no attempt is charged.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from chaski_core import json_codec
from chaski_core.ports import Clock
from chaski_core.retry.backoff import Backoff
from chaski_core.route.model import AllowRule, ClientAuthentication, OAuth2
from chaski_runtime.process.file_reloader import ReloadedFiles
from chaski_worker.credentials.files import bearer, text_of
from chaski_worker.credentials.source import Credential, unusable
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.outcomes import classify_error
from chaski_worker.guard import addresses
from chaski_worker.guard.addresses import DialRecord
from chaski_worker.guard.guard import Guard, Refusal, RefusalReason, Target
from chaski_worker.shortage.detection import Shortage, ShortageError, shortage_in

_log = logging.getLogger(__name__)
CLIENT_ID, CLIENT_SECRET = "client-id", "client-secret"  # keys of the Secret, so names of its files
TIMEOUT_SECONDS = 10.0  # of one call of the token endpoint
_MAX_RESPONSE_BYTES = 65_536
_DEFAULT_LIFETIME_SECONDS = 300.0  # of a token whose response has no `expires_in`
_MAX_AHEAD_SECONDS = 60.0
_AHEAD_SHARE = 0.2  # of a token's lifetime: it is renewed when this is left
_RENEWALS_APART_SECONDS = 60.0  # by a 401: a target that refuses every token costs one token a minute
_BACKOFF = Backoff(first_seconds=0.5, longest_seconds=30.0)
_ERRORS = frozenset(  # RFC 6749 §5.2; other texts of a response are not logged
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@dataclass(frozen=True, slots=True)
class _Token:
    credential: Credential = field(repr=False)
    renew_at: float  # monotonic seconds
    expires_at: float  # monotonic seconds


def token_rule(rule: AllowRule, oauth2: OAuth2) -> AllowRule:
    """The rule under which the token endpoint is called; no rule of a route has a name with a colon."""
    return AllowRule(f"{rule.name}:token", oauth2.token_url, oauth2.cidrs, oauth2.ca_bundle)


def _judged(rule: AllowRule, denied_hosts: Collection[str]) -> Target | Refusal:
    try:
        return Guard((rule,), denied_hosts).check(rule.url)
    except ValueError as error:  # a host that only the definition accepts
        return Refusal(RefusalReason.MALFORMED, str(error))


class ClientCredentials:
    """The access tokens of one rule. Calls nothing yet.

    Args:
        rule: whose requests have them.
        oauth2: its settings.
        folder: of the mounted Secret.
        clients: send the requests to the token endpoint.
        clock: for expiry.
        denied_hosts: names that are never called.
        random: in [0, 1); spreads the tries of many Pods.
    """

    def __init__(  # noqa: PLR0913 - settings, each with a reason of its own
        self,
        rule: AllowRule,
        oauth2: OAuth2,
        folder: Path,
        *,
        clients: TargetClients,
        clock: Clock,
        denied_hosts: Collection[str],
        random: Callable[[], float],
    ) -> None:
        self._rule = rule
        self._oauth2 = oauth2
        self._files = (folder / CLIENT_ID, folder / CLIENT_SECRET)
        self._clients = clients
        self._clock = clock
        self._random = random
        self._endpoint = _judged(token_rule(rule, oauth2), denied_hosts)
        self._client: ReloadedFiles[tuple[str, str]] | None = None
        self._token: _Token | None = None
        self._lock = asyncio.Lock()
        self._failure: Shortage | None = None
        self._failures = 0
        self._not_before = -float("inf")  # monotonic seconds: no call before this
        self._renewed_at = -float("inf")  # monotonic seconds, by a 401

    async def credential(self, _: AttemptContext) -> Credential:
        token, now = self._token, self._clock.monotonic()
        if token is not None and now < token.renew_at:
            return token.credential
        if token is not None and now < token.expires_at and (self._lock.locked() or now < self._not_before):
            return token.credential
        try:
            return (await self._fetched(token)).credential
        except ShortageError:
            if token is not None and self._clock.monotonic() < token.expires_at:
                return token.credential
            raise

    async def renew(self, rejected: Credential) -> bool:
        if self._token is None or self._token.credential != rejected:
            return True  # another request has had it renewed
        now = self._clock.monotonic()
        if now < self._renewed_at + _RENEWALS_APART_SECONDS:
            return False
        self._renewed_at, self._token = now, None
        _log.info(
            'targets.allow "%s" answered 401: another token is requested, and the request is repeated', self._rule.name
        )
        return True

    async def close(self) -> None:
        """Has nothing under way beside the requests that wait for a token."""

    def client(self) -> tuple[str, str]:
        """Id and secret of the client. Raises ShortageError where the Secret could never be used."""
        try:
            if self._client is None:
                self._client = ReloadedFiles(
                    self._files,
                    lambda contents: (text_of(self._files[0], contents[0]), text_of(self._files[1], contents[1])),
                    self._clock.monotonic,
                )
            return self._client.value()
        except (OSError, ValueError) as error:
            raise unusable(self._rule, str(error)) from error

    async def _fetched(self, before: _Token | None) -> _Token:
        """A new token; concurrent callers wait for one call, and share its result."""
        async with self._lock:
            if self._token is not None and self._token is not before:
                return self._token
            if self._failure is not None and self._clock.monotonic() < self._not_before:
                raise ShortageError(self._failure)
            try:
                self._token = await self._fetch()
            except ShortageError as error:
                self._failures += 1
                self._failure = error.shortage
                pause = _BACKOFF.equal_jitter(self._failures, self._random())
                self._not_before = self._clock.monotonic() + pause
                raise
            self._failure, self._failures = None, 0
            return self._token

    async def _fetch(self) -> _Token:
        headers, body = _request(self._oauth2, *self.client())
        judged = self._endpoint
        if isinstance(judged, Refusal):
            raise unusable(self._rule, f"the token endpoint is not called: {judged.detail}")
        asked_at = self._clock.monotonic()
        status, data = await self._post(judged, headers, body)
        if status != 200:
            raise unusable(
                self._rule, f"{judged.url.origin} answered {status}{_error_code(data)} to the request for a token"
            )
        token, lifetime = _read_token(data)
        if token is None:
            raise unusable(self._rule, f"{judged.url.origin} answered without a bearer token (RFC 6749 §5.1)")
        ahead = min(_MAX_AHEAD_SECONDS, lifetime * _AHEAD_SHARE)
        return _Token(bearer(token), asked_at + lifetime - ahead, asked_at + lifetime)

    async def _post(self, endpoint: Target, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        dial, data = DialRecord(), bytearray()
        reset = addresses.current_dial.set(dial)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await self._clients.of(endpoint.rule).request("POST", endpoint.url, headers, body)
                try:
                    await response.read_into(data, _MAX_RESPONSE_BYTES)
                finally:
                    response.close()
        except Exception as error:
            raise self._failed(error, endpoint, dial) from error
        finally:
            addresses.current_dial.reset(reset)
        return response.status, bytes(data)

    def _failed(self, error: Exception, endpoint: Target, dial: DialRecord) -> ShortageError:
        own = dial.shortage or shortage_in(error)
        if own is not None:
            return unusable(self._rule, f"{endpoint.url.origin} was not called: {own.detail}")
        if dial.refused and not dial.dialled:
            address, refusal = next(iter(dial.refused.items()))
            return unusable(self._rule, f"{address} of {endpoint.url.origin} is not dialled: {refusal.detail}")
        found = classify_error(error, https=endpoint.url.scheme == "https")
        detail = found[1] if found else f"unexpected {type(error).__name__}"
        return unusable(self._rule, f"no token from {endpoint.url.origin}: {detail}")


def _request(oauth2: OAuth2, client_id: str, client_secret: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a request for a token (RFC 6749 §2.3.1, §4.4.2)."""
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    fields = {"grant_type": "client_credentials"}
    if oauth2.scopes:
        fields["scope"] = " ".join(oauth2.scopes)
    if oauth2.audience is not None:
        fields["audience"] = oauth2.audience
    if oauth2.client_authentication is ClientAuthentication.BASIC:
        pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(pair).decode()}"))
    else:
        fields |= {"client_id": client_id, "client_secret": client_secret}
    return headers, urlencode(fields).encode()


def _read_object(data: bytes) -> dict[str, Any]:
    try:
        found = json_codec.loads(data)
    except json_codec.JsonError:
        return {}
    return found if isinstance(found, dict) else {}


def _error_code(data: bytes) -> str:
    code = _read_object(data).get("error")
    return f" {code}" if isinstance(code, str) and code in _ERRORS else ""


def _read_token(data: bytes) -> tuple[str | None, float]:
    """Token and lifetime in seconds of a response (RFC 6749 §5.1); no token where it is not a bearer token."""
    found = _read_object(data)
    token, kind, lifetime = found.get("access_token"), found.get("token_type"), found.get("expires_in")
    if not isinstance(token, str) or not isinstance(kind, str) or kind.lower() != "bearer":
        return None, 0.0
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        return None, 0.0
    try:
        seconds = _DEFAULT_LIFETIME_SECONDS if lifetime is None else float(str(lifetime))
    except ValueError:
        seconds = _DEFAULT_LIFETIME_SECONDS
    return token, max(1.0, min(seconds, 86_400.0))
