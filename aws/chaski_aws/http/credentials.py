"""Credentials by botocore's own chain, renewed ahead of time, never in the way of a request.

Environment, web identity (IRSA), container (EKS Pod Identity, ECS), profile, instance metadata: whatever botocore finds
first. Looking and renewing make blocking requests, so they happen in a thread, one at a time; requests go on with
the old credentials for as long as those are valid.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from chaski_aws.http.endpoints import SessionFactory, open_session
from chaski_core.errors import BackendUnavailableError

RENEW_AHEAD_SECONDS = 900  # botocore's advisory window: below it, get_frozen_credentials renews
RETRY_SECONDS = 5.0  # between two looks that follow a failed one, or a refused set
_log = logging.getLogger(__name__)


class CredentialSource(Protocol):
    """Where a transport gets what it signs with."""

    async def current(self) -> ReadOnlyCredentials:
        """Valid credentials, at once where there are any. `BackendUnavailableError`: there are none now."""
        ...

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """Others than these, which AWS refused; the same ones where there are no others. Errors as `current`."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    """What is signed with, and botocore's object that can renew it."""

    frozen: ReadOnlyCredentials
    origin: Credentials | RefreshableCredentials

    def ends_within(self, seconds: int) -> bool:
        return isinstance(self.origin, RefreshableCredentials) and bool(self.origin.refresh_needed(seconds))


class CredentialChain:
    """Implements `CredentialSource` with botocore's default chain. One for a process."""

    def __init__(
        self,
        open_session: SessionFactory = open_session,
        monotonic: Callable[[], float] = time.monotonic,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        """Looks for nothing yet.

        Args:
            open_session: where the chain begins.
            monotonic: seconds.
            seconds: epoch seconds by which credentials end; None: as botocore takes them, from this machine's clock.
        """
        self._open_session = open_session
        self._seconds = seconds
        self._monotonic = monotonic
        self._held: _Held | None = None
        self._looking: asyncio.Task[_Held] | None = None
        self._failure = "not looked for yet"
        self._not_before = -float("inf")  # monotonic seconds: no look sooner than this

    async def current(self) -> ReadOnlyCredentials:
        """Credentials to sign with.

        Raises:
            BackendUnavailableError: there are none, or they ended and renewing them failed.
        """
        held = self._held
        if held is not None and not held.ends_within(RENEW_AHEAD_SECONDS):
            return held.frozen
        looking = self._look(held.origin if held is not None else None)
        if held is not None and not held.ends_within(0):
            return held.frozen
        return await self._found(looking)

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """Looks anew, in a fresh session: AWS refused these. Whoever comes meanwhile waits for the same look.

        Raises:
            BackendUnavailableError: none were found.
        """
        held = self._held
        if held is not None and held.frozen != refused:
            return held.frozen
        looking = self._look(None)
        return await self._found(looking) if looking is not None else refused

    async def close(self) -> None:
        """Ends what is under way; a thread that asks STS ends by its own timeouts."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _look(self, origin: Credentials | RefreshableCredentials | None) -> "asyncio.Task[_Held] | None":
        if self._looking is None and self._monotonic() >= self._not_before:
            self._not_before = self._monotonic() + RETRY_SECONDS
            self._looking = asyncio.create_task(asyncio.to_thread(_look, origin, self._open_session, self._seconds))
            self._looking.add_done_callback(self._take)
        return self._looking

    def _take(self, looked: "asyncio.Task[_Held]") -> None:
        self._looking = None
        if looked.cancelled():
            return
        error = looked.exception()
        if error is None:
            self._held = looked.result()
        else:
            self._failure = f"{type(error).__name__}: {error}"
            _log.warning("no AWS credentials could be had: %s", self._failure)

    async def _found(self, looking: "asyncio.Task[_Held] | None") -> ReadOnlyCredentials:
        if looking is not None:
            await asyncio.wait((looking,))  # several may wait, and one that is cancelled takes nothing from the others
            if not looking.cancelled() and looking.exception() is None:
                return looking.result().frozen
        raise BackendUnavailableError(f"no AWS credentials: {self._failure}", retry_after_seconds=RETRY_SECONDS)


def end_by(found: Credentials | RefreshableCredentials | None, seconds: Callable[[], float]) -> None:
    """Lets credentials end by a clock that is given, in place of this machine's.

    By a clock that is ahead, what STS has just issued has ended already, and botocore raises instead of handing it out.
    botocore takes such a clock as an argument (`time_fetcher`), but its providers do not pass one on, so it is set where
    they put it; `test_credentials_end_by_the_clock_that_is_given` fails first where a release puts it elsewhere.
    """
    if isinstance(found, RefreshableCredentials):
        found._time_fetcher = lambda: datetime.fromtimestamp(seconds(), UTC)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


def _look(
    origin: Credentials | RefreshableCredentials | None,
    open_session: SessionFactory,
    seconds: Callable[[], float] | None,
) -> _Held:
    found = origin if origin is not None else open_session().get_credentials()
    if found is None:
        raise NoCredentialsError
    if seconds is not None:
        end_by(found, seconds)
    return _Held(found.get_frozen_credentials(), found)
