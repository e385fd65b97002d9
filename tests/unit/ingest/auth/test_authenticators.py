"""Authentication of producers."""

import hashlib
from dataclasses import replace

import pytest

from chaski_core.route.model import Producer, Route
from chaski_ingest.auth.authenticators import Authenticated, ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.auth.token_review import Denied, TokenReviewer
from unit.ingest.auth.test_token_review import YES, FakeApi, token
from unit.ingest.fakes import FakeClock, resolved


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


PRODUCERS = (
    Producer("helpdesk", "channels"),
    Producer(None, None, (_sha256("old key"), _sha256("new key"))),
    Producer("shop", "orders", (_sha256("shop key"),), rate_per_second=2),
)


def route(*producers: Producer) -> Route:
    """helpdesk/conversations with these producers."""
    return replace(resolved().route, producers=producers or PRODUCERS)


def authenticator(api: FakeApi | None = None, clock: FakeClock | None = None) -> ProducerAuthenticator:
    """An authenticator that reviews tokens at this API server."""
    at = clock or FakeClock()
    return ProducerAuthenticator(TokenReviewer((api or FakeApi()).review, at), RateLimits(at.monotonic))


def bearer(credential: str) -> dict[str, str]:
    """The Authorization header with a credential."""
    return {"Authorization": f"Bearer {credential}"}


@pytest.mark.parametrize(
    ("credential", "producer"),
    [
        (token(), "helpdesk/channels"),
        ("old key", f"key-{_sha256('old key')[:8]}"),
        ("new key", f"key-{_sha256('new key')[:8]}"),
        ("shop key", "shop/orders"),
    ],
)
async def test_a_producer_of_the_route_is_admitted(credential: str, producer: str) -> None:
    """By its token, or by either of its keys; its name goes into the messages' metadata."""
    admitted = await authenticator().authenticate(bearer(credential), route())
    assert isinstance(admitted, Authenticated)
    assert admitted.producer == producer


@pytest.mark.parametrize("credential", [token(), "a key"])
async def test_the_first_entry_of_a_producer_decides_its_subjects(credential: str) -> None:
    """By token and by key alike; a later entry of the same producer widens nothing."""
    key = (_sha256("a key"),)
    entries = (
        Producer("helpdesk", "channels", key, subjects=("a_*",)),
        Producer("helpdesk", "channels", key, subjects=("*",)),
    )
    admitted = await authenticator().authenticate(bearer(credential), route(*entries))
    assert isinstance(admitted, Authenticated)
    assert admitted.subjects == ("a_*",)


@pytest.mark.parametrize(
    ("headers", "status", "part"),
    [
        ({}, 401, "missing credentials"),
        ({"Authorization": "Basic dTpw"}, 401, "is not `Bearer`"),
        ({"Authorization": "Bearer "}, 401, "is not `Bearer`"),
        ({"Authorization": "Bearer"}, 401, "is not `Bearer`"),
        (bearer("revoked key"), 401, "API key of this route"),
        (bearer(_sha256("old key")), 401, "API key of this route"),
        (bearer("k" * 9_000), 401, "too long"),
        (bearer("\udcff\udcfe"), 401, "API key of this route"),
        (bearer(token(aud=["other"])), 401, "audience"),
        (bearer(token(exp=1)), 401, "expired"),
    ],
)
async def test_missing_or_invalid_credentials_are_answered_401(headers: dict[str, str], status: int, part: str) -> None:
    """The detail gives the reason, and repeats nothing of the credential."""
    denied = await authenticator().authenticate(headers, route())
    assert isinstance(denied, Denied)
    assert denied.status == status
    assert part in denied.detail
    assert "revoked" not in denied.detail


@pytest.mark.parametrize("username", ["system:serviceaccount:helpdesk:other", "system:serviceaccount:shop:channels"])
async def test_an_account_that_is_not_a_producer_gets_403_with_the_reason(username: str) -> None:
    """The detail names the account, the route and the field, but not the route's producers."""
    api = FakeApi({**YES, "user": {"username": username}})
    denied = await authenticator(api).authenticate(bearer(token()), route())
    assert isinstance(denied, Denied)
    assert denied.status == 403
    _, _, namespace, name = username.split(":")
    for part in (f"ServiceAccount {namespace}/{name}", '"helpdesk/conversations"', "spec.producers"):
        assert part in denied.detail
    assert not any(each in denied.detail for each in ("helpdesk/channels", "shop/orders"))


async def test_a_route_without_producers_admits_no_request() -> None:
    """A producer of one route has no rights on another."""
    closed = replace(resolved().route, producers=())
    for credential, status in ((token(), 403), ("old key", 401)):
        denied = await authenticator().authenticate(bearer(credential), closed)
        assert isinstance(denied, Denied)
        assert denied.status == status


async def test_a_shared_rate_is_explained_to_its_producer() -> None:
    """A client of one connection reaches one Pod, and gets its share only."""
    auth = ProducerAuthenticator(None, RateLimits(lambda: 0.0, lambda: 2))
    assert isinstance(await auth.authenticate(bearer("shop key"), route()), Authenticated)
    denied = await auth.authenticate(bearer("shop key"), route())
    assert isinstance(denied, Denied)
    assert denied.status == 429
    for part in ("limited to 2 messages per second", "shared by 2 ingest Pods", "several connections"):
        assert part in denied.detail


async def test_without_an_api_server_only_keys_are_accepted() -> None:
    """`--auth keys`."""
    keys = ProducerAuthenticator(None, RateLimits(lambda: 0.0))
    assert isinstance(await keys.authenticate(bearer("old key"), route()), Authenticated)
    denied = await keys.authenticate(bearer(token()), route())
    assert denied == Denied(401, "the credential is not an API key of this route")


async def test_a_producer_beyond_its_rate_gets_429_with_a_retry_time() -> None:
    """With either of its credentials; other producers are not delayed."""
    clock = FakeClock()
    auth = authenticator(FakeApi({**YES, "user": {"username": "system:serviceaccount:shop:orders"}}), clock)
    assert isinstance(await auth.authenticate(bearer("shop key"), route()), Authenticated)
    second = await auth.authenticate(bearer(token()), route())
    assert isinstance(second, Authenticated)
    denied = await auth.authenticate(bearer(token()), route())
    assert isinstance(denied, Denied)
    assert (denied.status, denied.retry_after_seconds) == (429, 1)
    assert isinstance(await auth.authenticate(bearer("old key"), route()), Authenticated)
    clock.seconds = 0.5
    third = await auth.authenticate(bearer("shop key"), route())
    assert isinstance(third, Authenticated)
    assert third.debit is not None
    third.debit(9)
    clock.seconds = 1.0
    denied = await auth.authenticate(bearer("shop key"), route())
    assert isinstance(denied, Denied)
    assert denied.retry_after_seconds == 5
