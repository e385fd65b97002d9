"""Credentials: loaded once, renewed ahead of time, without delaying requests."""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials

from chaski_aws.http.credentials import RETRY_SECONDS, CredentialChain
from chaski_core.errors import BackendUnavailableError

START = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


class Issuer:
    """Issues credentials for an hour, as STS does, by the test's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.issued = 0
        self.sessions = 0
        self.down = False
        self.nothing = False
        self.gate = threading.Event()  # cleared: an issue waits, as for a slow STS
        self.gate.set()
        self.threads: set[int] = set()

    def issue(self) -> dict[str, Any]:
        """The metadata that botocore's refresh needs."""
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        if self.down:
            raise ConnectionError("STS is down")
        self.issued += 1
        ends = START + dt.timedelta(seconds=self.now + 3600)
        return {
            "access_key": f"AK{self.issued}",
            "secret_key": "s",
            "token": "t",
            "expiry_time": ends.isoformat(),
        }

    def open_session(self) -> Any:
        """A session with these credentials."""
        self.sessions += 1
        return self

    def get_credentials(self) -> RefreshableCredentials | None:
        """As in a botocore session."""
        if self.nothing:
            return None
        first = self.issue()
        return RefreshableCredentials(
            first["access_key"],
            first["secret_key"],
            first["token"],
            dt.datetime.fromisoformat(first["expiry_time"]),
            self.issue,
            "test",
            time_fetcher=lambda: START + dt.timedelta(seconds=self.now),
        )


@pytest.fixture
def issuer() -> Issuer:
    """A new issuer."""
    return Issuer()


@pytest.fixture
def chain(issuer: Issuer) -> CredentialChain:
    """A chain on the issuer, by its clock."""
    return CredentialChain(issuer.open_session, lambda: issuer.now)


async def settled(condition: Callable[[], bool]) -> None:
    """Waits until another thread has worked."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def key(chain: CredentialChain) -> str:
    """The access key of the current credentials."""
    return str((await chain.current()).access_key)


async def test_many_first_requests_share_one_load(issuer: Issuer, chain: CredentialChain) -> None:
    """In a thread."""
    assert set(await asyncio.gather(*(key(chain) for _ in range(50)))) == {"AK1"}
    assert (issuer.issued, issuer.sessions) == (1, 1)
    assert threading.get_ident() not in issuer.threads


async def test_valid_credentials_are_returned_at_once(issuer: Issuer, chain: CredentialChain) -> None:
    """Without a thread and a request."""
    await chain.current()
    issuer.now = 2000
    assert [await key(chain) for _ in range(3)] == ["AK1"] * 3
    assert issuer.issued == 1


async def test_renewal_does_not_delay_requests(issuer: Issuer, chain: CredentialChain) -> None:
    """Within a quarter of an hour of the expiry, while STS is slow, requests use the old ones."""
    await chain.current()
    issuer.now = 2800
    issuer.gate.clear()
    async with asyncio.timeout(2):
        assert [await key(chain) for _ in range(5)] == ["AK1"] * 5
    issuer.gate.set()
    await settled(lambda: issuer.issued == 2)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while await key(chain) != "AK2":
            await asyncio.sleep(0.005)


@pytest.mark.promise(10)
async def test_failing_renewal_fails_no_request_while_the_old_ones_are_valid(
    issuer: Issuer, chain: CredentialChain
) -> None:
    """To the last second; then the caller gets the reason, until STS works again."""
    await chain.current()
    issuer.down = True
    for now in (2800, 3100, 3500, 3599):  # botocore itself would fail from 3,000 on
        issuer.now = now
        assert await key(chain) == "AK1"
        await asyncio.sleep(0.02)
        assert await key(chain) == "AK1"
    issuer.now = 3700
    with pytest.raises(BackendUnavailableError, match="STS is down"):
        await chain.current()
    issuer.down = False
    issuer.now += RETRY_SECONDS
    assert await key(chain) == "AK2"


async def test_expired_credentials_are_renewed_before_use(issuer: Issuer, chain: CredentialChain) -> None:
    """A process that slept for hours waits for new ones."""
    await chain.current()
    issuer.now = 8000
    assert await key(chain) == "AK2"


async def test_a_failing_issuer_is_not_called_at_every_request(issuer: Issuer, chain: CredentialChain) -> None:
    """Requests fail at once meanwhile."""
    issuer.down = True
    for _ in range(5):
        with pytest.raises(BackendUnavailableError) as refused:
            await chain.current()
    assert refused.value.retry_after_seconds == RETRY_SECONDS
    assert issuer.sessions == 1
    issuer.now += RETRY_SECONDS
    with pytest.raises(BackendUnavailableError):
        await chain.current()
    assert issuer.sessions == 2


async def test_missing_credentials_are_an_error(issuer: Issuer, chain: CredentialChain) -> None:
    """A retryable one: a token may be mounted, a ServiceAccount annotated."""
    issuer.nothing = True
    with pytest.raises(BackendUnavailableError, match="Unable to locate credentials"):
        await chain.current()


async def test_refused_credentials_are_replaced_once_for_all(issuer: Issuer, chain: CredentialChain) -> None:
    """Fifty requests got ExpiredToken: one load in a new session serves them; a late one gets its result."""
    refused = await chain.current()
    issuer.now = 100
    replaced = await asyncio.gather(*(chain.replace(refused) for _ in range(50)))
    assert {each.access_key for each in replaced} == {"AK2"}
    assert (await chain.replace(refused)).access_key == "AK2"
    assert issuer.sessions == 2


async def test_refused_credentials_without_others_stay(issuer: Issuer, chain: CredentialChain) -> None:
    """Invalid keys are loaded again every few seconds, not at every request."""
    fixed = Credentials("AK", "wrong")
    issuer.get_credentials = lambda: fixed  # type: ignore[method-assign, assignment, return-value]  # keys of a file
    refused = await chain.current()
    assert await chain.replace(refused) == refused
    issuer.now += RETRY_SECONDS
    assert await chain.replace(refused) == refused
    assert await chain.replace(refused) == refused
    assert issuer.sessions == 2


async def test_cancelled_request_does_not_affect_others(issuer: Issuer, chain: CredentialChain) -> None:
    """The load continues for the other waiting requests."""
    issuer.gate.clear()
    leaving, staying = asyncio.create_task(chain.current()), asyncio.create_task(chain.current())
    await settled(lambda: bool(issuer.threads))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    issuer.gate.set()
    assert (await staying).access_key == "AK1"


async def test_closing_cancels_a_load(issuer: Issuer, chain: CredentialChain) -> None:
    """A waiting request fails."""
    issuer.gate.clear()
    waiting = asyncio.create_task(chain.current())
    await settled(lambda: bool(issuer.threads))
    await chain.close()
    with pytest.raises(BackendUnavailableError):
        await waiting
    issuer.gate.set()


async def test_real_chain_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore's own session and chain."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert await CredentialChain().current() == ReadOnlyCredentials("AKENV", "secret", "token", None)
