"""Puts together what decides who may send, by `--auth`."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import StrEnum
from functools import partial

from chaski_core import __version__
from chaski_core.ports import Clock
from chaski_ingest.auth.authenticators import Authenticator, NoAuthentication, ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.auth.token_review import REVIEW_PATH, TokenReviewer
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess, kube_access

_log = logging.getLogger(__name__)
_REVIEW_SECONDS = 5.0  # a producer waits for it

OpenAuthenticator = Callable[[Clock], AbstractAsyncContextManager[Authenticator]]


class Auth(StrEnum):
    """Whose word is taken for who asks."""

    KUBERNETES = "kubernetes"  # ServiceAccounts' tokens, by TokenReview; and API keys
    KEYS = "keys"  # API keys only
    NONE = "none"  # nobody is asked


def authenticator_for(auth: Auth) -> OpenAuthenticator:
    """What makes the authenticator once there is a loop.

    Raises:
        NoKubeAccessError: there is no API server to ask.
    """
    if auth is Auth.KUBERNETES:
        return partial(_by_tokens_and_keys, kube_access())
    return _by_keys if auth is Auth.KEYS else _nobody


@asynccontextmanager
async def _by_tokens_and_keys(access: KubeAccess, clock: Clock) -> AsyncIterator[Authenticator]:
    async with KubeApi(access, user_agent=f"chaski-ingest/{__version__}", timeout_seconds=_REVIEW_SECONDS) as api:
        reviewer = TokenReviewer(lambda review: api.create(REVIEW_PATH, dict(review)), clock)
        yield ProducerAuthenticator(reviewer, RateLimits(clock.monotonic))


@asynccontextmanager
async def _by_keys(clock: Clock) -> AsyncIterator[Authenticator]:
    yield ProducerAuthenticator(None, RateLimits(clock.monotonic))


@asynccontextmanager
async def _nobody(clock: Clock) -> AsyncIterator[Authenticator]:
    del clock
    _log.warning("there is no authentication: whoever reaches the port may send")
    yield NoAuthentication()
