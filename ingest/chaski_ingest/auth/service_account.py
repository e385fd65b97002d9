"""Admits one ServiceAccount, by a token for an audience of its own: for endpoints that are not the producers'."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from chaski_core import __version__
from chaski_core.ports import Clock
from chaski_ingest.auth.authenticators import bearer_credential
from chaski_ingest.auth.token_review import REVIEW_PATH, Denied, Identity, TokenReviewer, is_jwt_shaped
from chaski_runtime.kube.client import KubeApi
from chaski_runtime.kube.config import KubeAccess

_REVIEW_SECONDS = 2.0  # the caller asks again every second

Authorize = Callable[[Mapping[str, str]], Awaitable[Denied | None]]  # the headers of a request; None: admitted
AuthorizeFactory = Callable[[Clock], AbstractAsyncContextManager[Authorize]]


def service_account_only(access: KubeAccess, account: Identity, audience: str) -> AuthorizeFactory:
    """The factory of a function that admits requests with a token of this ServiceAccount, to be called in the event loop.

    Args:
        access: the API server, which reviews the tokens.
        account: who is admitted.
        audience: of the tokens.
    """
    return partial(_opened, access, account, audience)


@asynccontextmanager
async def _opened(access: KubeAccess, account: Identity, audience: str, clock: Clock) -> AsyncIterator[Authorize]:
    async with KubeApi(access, user_agent=f"chaski-ingest/{__version__}", timeout_seconds=_REVIEW_SECONDS) as api:
        reviewer = TokenReviewer(lambda review: api.create(REVIEW_PATH, dict(review)), clock, audience)
        yield partial(_authorize, reviewer, account)


async def _authorize(reviewer: TokenReviewer, account: Identity, headers: Mapping[str, str]) -> Denied | None:
    credential = bearer_credential(headers)
    if isinstance(credential, Denied):
        return credential
    if not is_jwt_shaped(credential):
        return Denied(401, "the credential is not a ServiceAccount's token")
    identity = await reviewer.identity(credential)
    if isinstance(identity, Denied):
        return identity
    return None if identity == account else Denied(403, f"{identity} may not read this; {account} may")
