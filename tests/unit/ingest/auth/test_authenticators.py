"""Who may send to a route."""

import hashlib
import logging
from dataclasses import replace

import pytest

from chaski_core.route.model import Producer, Route
from chaski_ingest.auth.authenticators import Authenticated, Denied, ProducerAuthenticator
from chaski_ingest.auth.denied_log import DeniedRequestLog
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.auth.token_review import TokenReviewer
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
    """One that asks this API server."""
    at = clock or FakeClock()
    return ProducerAuthenticator(TokenReviewer((api or FakeApi()).review, at), RateLimits(at.monotonic))


def bearer(credential: str) -> dict[str, str]:
    """The header that shows it."""
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
    """By its token, or by either of its keys; the name is noted in the messages."""
    admitted = await authenticator().authenticate(bearer(credential), route())
    assert isinstance(admitted, Authenticated)
    assert admitted.producer == producer


@pytest.mark.parametrize(
    ("headers", "status", "told"),
    [
        ({}, 401, "says not who asks"),
        ({"Authorization": "Basic dTpw"}, 401, "is not `Bearer`"),
        ({"Authorization": "Bearer "}, 401, "is not `Bearer`"),
        ({"Authorization": "Bearer"}, 401, "is not `Bearer`"),
        (bearer("revoked key"), 401, "no API key of this route"),
        (bearer(_sha256("old key")), 401, "no API key of this route"),
        (bearer("k" * 9_000), 401, "too long"),
        (bearer("\udcff\udcfe"), 401, "no API key"),
        (bearer(token(aud=["other"])), 401, "audience"),
        (bearer(token(exp=1)), 401, "expired"),
    ],
)
async def test_who_does_not_say_enough_is_answered_401(headers: dict[str, str], status: int, told: str) -> None:
    """The sentence helps whoever sent it, and repeats nothing of the credential."""
    denied = await authenticator().authenticate(headers, route())
    assert isinstance(denied, Denied)
    assert denied.status == status
    assert told in denied.detail
    assert "revoked" not in denied.detail


@pytest.mark.parametrize("username", ["system:serviceaccount:helpdesk:other", "system:serviceaccount:shop:channels"])
async def test_another_account_is_told_why_not(username: str) -> None:
    """403 names who asked, the route and the field; not who else may."""
    api = FakeApi({**YES, "user": {"username": username}})
    denied = await authenticator(api).authenticate(bearer(token()), route())
    _, _, namespace, name = username.split(":")
    assert denied == Denied(
        403,
        f"ServiceAccount {namespace}/{name} may not send to route "
        '"helpdesk/conversations": its spec.producers lacks it',
    )


async def test_a_route_without_producers_takes_nothing() -> None:
    """Rights are the route's: another route's are no help."""
    nobody = replace(resolved().route, producers=())
    for credential, status in ((token(), 403), ("old key", 401)):
        denied = await authenticator().authenticate(bearer(credential), nobody)
        assert isinstance(denied, Denied)
        assert denied.status == status


async def test_without_an_api_server_only_keys_are_taken() -> None:
    """`--auth keys`."""
    keys = ProducerAuthenticator(None, RateLimits(lambda: 0.0))
    assert isinstance(await keys.authenticate(bearer("old key"), route()), Authenticated)
    denied = await keys.authenticate(bearer(token()), route())
    assert denied == Denied(401, "the credential is no API key of this route")


async def test_a_producer_beyond_its_rate_is_told_when_to_come_back() -> None:
    """Whichever credential it shows; others are not held up."""
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
    assert third.charge is not None
    third.charge(9)
    clock.seconds = 1.0
    denied = await auth.authenticate(bearer("shop key"), route())
    assert isinstance(denied, Denied)
    assert denied.retry_after_seconds == 5


def test_a_cause_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Each route and each cause by itself; what is remembered of it is bounded."""
    now = 0.0
    log = DeniedRequestLog(lambda: now)
    for later in (0.0, 1.0, 59.0, 60.0):
        now = later
        log.tell("a/b", Denied(403, "not you"))
        log.tell("a/c", Denied(403, "not you"))
    assert [record.getMessage() for record in caplog.records] == [
        f"a/{route}: request denied with 403: not you" for route in "bcbc"
    ]
    assert caplog.records[0].__dict__["ecs"]["labels.route"] == "b"
    caplog.set_level(logging.CRITICAL)
    for number in range(1_100):
        log.tell("a/b", Denied(403, str(number)))
    assert len(log._told) == 1_000
