"""Credentials of one rule's requests: headers that are sent under this rule only, and secrets that no outcome may repeat."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from chaski_core.message.refused_headers import normalized
from chaski_core.redaction import SHORTEST_CUT, without_echo
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule
from chaski_worker.delivery.attempt import AttemptContext, Handler, Middleware
from chaski_worker.guard.guard import Target
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason

TOKENS_FOLDER = "_tokens"
"""Folder beside those of the Secrets, with a folder for each rule that has a token; a Secret's name has no underscore."""

UNAUTHORIZED = 401
_REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Credential:
    """The headers of one request."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)  # parts of their values that a response must not bring into a log


class CredentialSource(Protocol):
    """Where a rule's credentials come from."""

    async def credential(self, attempt: AttemptContext) -> Credential:
        """For one request. Raises ShortageError where there is none: no attempt is made."""

    async def renew(self, rejected: Credential) -> bool:
        """A target answered 401 to this credential. True: `credential` gives another one, and the request is sent again."""

    async def close(self) -> None:
        """Cancels what is under way."""


def unusable(rule: AllowRule, detail: str) -> ShortageError:
    """The error of a rule without usable credentials: its messages wait. `detail` contains no secret."""
    text = f'the credentials of targets.allow "{rule.name}" can\'t be used: {detail}'
    return ShortageError(Shortage(ShortageReason.CREDENTIALS, text, rule.name))


def authenticate(sources: Mapping[AllowRule, CredentialSource]) -> Middleware:
    """Adds the credentials of the rule to each request; requests under a rule without credentials pass unchanged.

    After a 401 the request is sent once more if the source has another credential: that the first one was revoked or has
    expired is not a failure of the message. A second 401 is an ordinary 4xx.
    """

    def middleware(attempt: AttemptContext, handler: Handler) -> Awaitable[Outcome]:
        source = sources.get(attempt.target.rule) if isinstance(attempt.target, Target) else None
        return handler(attempt) if source is None else _authenticated(source, attempt, handler)

    return middleware


async def _authenticated(source: CredentialSource, attempt: AttemptContext, handler: Handler) -> Outcome:
    credential = await source.credential(attempt)
    outcome = await handler(with_headers(attempt, credential))
    if outcome.status == UNAUTHORIZED and await source.renew(credential):
        credential = await source.credential(attempt)
        outcome = await handler(with_headers(attempt, credential))
    return redacted(outcome, credential.secrets)


def with_headers(attempt: AttemptContext, credential: Credential) -> AttemptContext:
    """The attempt with the credential's headers, which replace the message's of the same name, in any spelling."""
    names = {normalized(name) for name, _ in credential.headers}
    kept = tuple(header for header in attempt.request.headers if normalized(header[0]) not in names)
    request = replace(attempt.request, headers=kept)
    return replace(attempt, request=request, headers=(*attempt.headers, *credential.headers))


def redacted(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    """The outcome without secrets that the target has repeated: it is logged, and stored in dead letters."""
    detail, excerpt = outcome.detail, outcome.excerpt
    for secret in secrets:
        if len(secret) >= SHORTEST_CUT:  # a shorter text in a response says nothing about a secret
            detail, excerpt = (without_echo(text, secret, _REDACTED) for text in (detail, excerpt))
    if detail == outcome.detail and excerpt == outcome.excerpt:
        return outcome
    return replace(outcome, detail=detail, excerpt=excerpt)
