"""Credentials from botocore's default chain, renewed ahead of time in the background.

Environment, web identity (IRSA), container (EKS Pod Identity, ECS), profile, instance metadata: the first that botocore
finds. Loading and renewing make blocking requests, so they run in a thread, one at a time; requests use the old
credentials as long as those are valid.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from chaski_aws.http.endpoints import SessionFactory, open_session
from chaski_core.errors import BackendUnavailableError

RENEW_AHEAD_SECONDS = 900  # botocore's advisory window: below it, get_frozen_credentials renews
RETRY_SECONDS = 5.0  # minimum interval between two loads
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Credentials to sign with, and botocore's object that renews them."""

    frozen: ReadOnlyCredentials
    origin: Credentials | RefreshableCredentials

    def expires_within(self, seconds: int) -> bool:
        return isinstance(self.origin, RefreshableCredentials) and bool(self.origin.refresh_needed(seconds))


class CredentialChain:
    """The credentials that a transport signs with, from botocore's default chain. One per process."""

    def __init__(
        self,
        open_session: SessionFactory = open_session,
        monotonic: Callable[[], float] = time.monotonic,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        """Loads nothing yet.

        Args:
            open_session: opens the session whose chain is used.
            monotonic: seconds.
            seconds: epoch seconds by which credentials expire; None: this machine's clock, botocore's default.
        """
        self._open_session = open_session
        self._seconds = seconds
        self._monotonic = monotonic
        self._loaded: _Loaded | None = None
        self._loading: asyncio.Task[_Loaded] | None = None
        self._failure = "not loaded yet"
        self._not_before = -float("inf")  # monotonic seconds: no load before this

    async def current(self) -> ReadOnlyCredentials:
        """Credentials to sign with.

        Raises:
            BackendUnavailableError: there are none, or they have expired and can't be renewed.
        """
        loaded = self._loaded
        if loaded is not None and not loaded.expires_within(RENEW_AHEAD_SECONDS):
            return loaded.frozen
        loading = self._load(loaded.origin if loaded is not None else None)
        if loaded is not None and not loaded.expires_within(0):
            return loaded.frozen
        return await self._wait_for(loading)

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """Loads credentials in a new session, since AWS refused these. Concurrent callers wait for the same load.

        Raises:
            BackendUnavailableError: none were found.
        """
        loaded = self._loaded
        if loaded is not None and loaded.frozen != refused:
            return loaded.frozen
        loading = self._load(None)
        return await self._wait_for(loading) if loading is not None else refused

    async def close(self) -> None:
        """Cancels a load; its thread ends by the timeouts of its requests."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    def _load(self, origin: Credentials | RefreshableCredentials | None) -> "asyncio.Task[_Loaded] | None":
        if self._loading is None and self._monotonic() >= self._not_before:
            self._not_before = self._monotonic() + RETRY_SECONDS
            self._loading = asyncio.create_task(asyncio.to_thread(_load, origin, self._open_session, self._seconds))
            self._loading.add_done_callback(self._on_loaded)
        return self._loading

    def _on_loaded(self, load: "asyncio.Task[_Loaded]") -> None:
        self._loading = None
        if load.cancelled():
            return
        error = load.exception()
        if error is None:
            self._loaded = load.result()
        else:
            self._failure = f"{type(error).__name__}: {error}"
            _log.warning("could not load AWS credentials: %s", self._failure)

    async def _wait_for(self, load: "asyncio.Task[_Loaded] | None") -> ReadOnlyCredentials:
        if load is not None:
            await asyncio.wait((load,))  # a caller that is cancelled does not cancel the load for others
            if not load.cancelled() and load.exception() is None:
                return load.result().frozen
        raise BackendUnavailableError(f"no AWS credentials: {self._failure}", retry_after_seconds=RETRY_SECONDS)


def expire_by(found: Credentials | RefreshableCredentials | None, seconds: Callable[[], float]) -> None:
    """Makes credentials expire by the given clock (epoch seconds) in place of this machine's.

    By a clock that is ahead, credentials that STS has just issued have expired already, and botocore raises. botocore
    takes a clock as an argument (`time_fetcher`), but its providers do not pass one on, so its attribute is set here;
    `test_credentials_end_by_the_clock_that_is_given` fails first where a release renames it.
    """
    if isinstance(found, RefreshableCredentials):
        found._time_fetcher = lambda: datetime.fromtimestamp(seconds(), UTC)  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def _load(
    origin: Credentials | RefreshableCredentials | None,
    open_session: SessionFactory,
    seconds: Callable[[], float] | None,
) -> _Loaded:
    found = origin if origin is not None else open_session().get_credentials()
    if found is None:
        raise NoCredentialsError
    if seconds is not None:
        expire_by(found, seconds)
    return _Loaded(found.get_frozen_credentials(), found)
