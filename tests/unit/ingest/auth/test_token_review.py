"""Tokens of ServiceAccounts: what is asked of the API server, what is remembered, and for how long."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chaski_ingest.auth.token_review import Denied, Identity, TokenReviewer, looks_like_token
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError
from unit.ingest.fakes import NOW, FakeClock

SECONDS = NOW // 1000
YES = {
    "authenticated": True,
    "audiences": ["chaski"],
    "user": {"username": "system:serviceaccount:helpdesk:channels"},
}


def token(**claims: Any) -> str:
    """What looks like a token of these claims; who signed it is the API server's business."""
    full = {"aud": ["chaski"], "exp": SECONDS + 3_600, "sub": "system:serviceaccount:helpdesk:channels"} | claims
    payload = base64.urlsafe_b64encode(json.dumps(full).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl"


class FakeApi:
    """An API server that answers as told."""

    def __init__(self, status: object = None) -> None:
        self.status = YES if status is None else status
        self.asked: list[Mapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def review(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One TokenReview."""
        self.asked.append(body)
        await self.open.wait()
        if isinstance(self.status, Exception):
            raise self.status
        return {"status": self.status}


async def test_a_token_is_reviewed_for_our_audience_and_remembered_for_a_minute() -> None:
    """The second request asks nobody, the one after a minute does."""
    api, clock = FakeApi(), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token()
    for seconds, asked in ((0.0, 1), (59.9, 1), (60.0, 2)):
        clock.seconds = seconds
        assert await reviewer.identity(shown) == Identity("helpdesk", "channels")
        assert len(api.asked) == asked
    assert api.asked[0]["spec"] == {"token": shown, "audiences": ["chaski"]}


async def test_nothing_is_remembered_beyond_the_tokens_own_end() -> None:
    """It may end sooner than in a minute."""
    api, clock = FakeApi(), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token(exp=SECONDS + 10)
    for seconds, asked in ((0.0, 1), (9.0, 1), (10.0, 2)):
        clock.seconds = seconds
        await reviewer.identity(shown)
        assert len(api.asked) == asked


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (token(exp=SECONDS - 61), "has expired"),
        (token(exp=None), "has expired"),
        (token(aud=["https://kubernetes.default.svc"]), 'not for audience "chaski"'),
        (token(aud="other"), 'not for audience "chaski"'),
        (token(aud=None), 'not for audience "chaski"'),
        ("a.b.c", "not valid"),
        ("a.W10.c", "not valid"),
        ("a." + base64.urlsafe_b64encode(b"\xff\xff").decode().rstrip("=") + ".c", "not valid"),
        ("é.é.é", "not valid"),
    ],
)
async def test_what_says_itself_that_it_is_no_good_is_refused_without_asking(shown: str, told: str) -> None:
    """A flood of these costs the API server nothing."""
    api = FakeApi()
    denied = await TokenReviewer(api.review, FakeClock()).identity(shown)
    assert isinstance(denied, Denied)
    assert denied.status == 401
    assert told in denied.detail
    assert api.asked == []


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        ({"authenticated": False, "error": "[invalid bearer token, secret inside]"}, 401, "not valid"),
        ({}, 401, "not valid"),
        ({**YES, "authenticated": "true"}, 401, "not valid"),
        ({**YES, "audiences": []}, 401, "audience"),
        ({**YES, "audiences": ["other"]}, 401, "audience"),
        ({"authenticated": True, "user": YES["user"]}, 401, "audience"),
        ({**YES, "user": {"username": "admin"}}, 403, "no ServiceAccount"),
        ({**YES, "user": {"username": "system:serviceaccount:"}}, 403, "no ServiceAccount"),
        ({**YES, "user": {}}, 403, "no ServiceAccount"),
    ],
)
async def test_what_the_api_server_refuses_is_remembered_for_five_seconds(
    status: Mapping[str, Any], code: int, told: str
) -> None:
    """Its own words stay in the log."""
    api, clock = FakeApi(status), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token()
    for seconds, asked in ((0.0, 1), (4.9, 1), (5.0, 2)):
        clock.seconds = seconds
        denied = await reviewer.identity(shown)
        assert isinstance(denied, Denied)
        assert denied.status == code
        assert told in denied.detail
        assert "secret" not in denied.detail
        assert len(api.asked) == asked


@pytest.mark.parametrize("error", [KubeUnavailableError("away"), KubeRefusedError(403, "Forbidden", "no rights")])
async def test_where_the_api_server_can_not_be_asked_nobody_is_let_in(error: Exception) -> None:
    """Not even who was let in before; and nothing of it is remembered."""
    api, clock = FakeApi(), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token()
    assert isinstance(await reviewer.identity(shown), Identity)
    api.status, clock.seconds = error, 60.0
    denied = await reviewer.identity(shown)
    assert isinstance(denied, Denied)
    assert (denied.status, denied.retry_after_seconds) == (503, 2)
    assert "rights" not in denied.detail
    api.status = YES
    assert isinstance(await reviewer.identity(shown), Identity)


async def test_requests_that_come_together_share_one_review() -> None:
    """Also where the first of them goes away meanwhile."""
    api = FakeApi()
    api.open.clear()
    reviewer, shown = TokenReviewer(api.review, FakeClock()), token()
    asking = [asyncio.create_task(reviewer.identity(shown)) for _ in range(5)]
    while not api.asked:
        await asyncio.sleep(0)
    asking[0].cancel()
    api.open.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [Identity("helpdesk", "channels")] * 4
    assert len(api.asked) == 1
    assert reviewer._asking == {}


async def test_what_is_remembered_is_bounded_and_broken_tokens_push_no_good_one_out() -> None:
    """Ten thousand of each kind."""
    api = FakeApi()
    reviewer, good = TokenReviewer(api.review, FakeClock()), token()
    await reviewer.identity(good)
    api.status = {"authenticated": False}
    for number in range(10_100):
        await reviewer.identity(token(n=number))
    assert len(reviewer._refused) == 10_000
    asked = len(api.asked)
    assert isinstance(await reviewer.identity(good), Identity)
    assert len(api.asked) == asked


@pytest.mark.promise(14)
async def test_made_up_tokens_hold_up_no_token_that_was_valid_before() -> None:
    """Those that are not known wait in a bounded line and are then answered 503; a known one has turns of its own."""
    api, clock = FakeApi(), FakeClock()
    reviewer, good = TokenReviewer(api.review, clock), token()
    assert await reviewer.identity(good) == Identity("helpdesk", "channels")
    clock.seconds = 61.0
    api.open.clear()
    strangers = []
    for number in range(2_000):
        strangers.append(asyncio.create_task(reviewer.identity(token(made=number))))
        await asyncio.sleep(0)
    renewed = asyncio.create_task(reviewer.identity(good))
    while not any(each["spec"]["token"] == good for each in api.asked[1:]):
        await asyncio.sleep(0)
    answered = [each for each in strangers if each.done()]
    assert len(answered) == 2_000 - 512
    assert {each.result().status for each in answered if isinstance(each.result(), Denied)} == {503}
    api.open.set()
    assert await renewed == Identity("helpdesk", "channels")
    await asyncio.gather(*strangers)


async def test_only_so_many_reviews_run_at_once() -> None:
    """A flood of tokens that look good does not become a flood at the API server."""
    api = FakeApi()
    api.open.clear()
    reviewer = TokenReviewer(api.review, FakeClock())
    asking = [asyncio.create_task(reviewer.identity(token(n=number))) for number in range(50)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(api.asked) == 16
    api.open.set()
    await asyncio.gather(*asking)
    assert len(api.asked) == 50


@pytest.mark.parametrize(
    ("text", "looks"),
    [(token(), True), ("a.b.c", True), ("secret", False), ("a.b", False), ("a..c", False), ("a.b.c.d", False)],
)
def test_what_may_be_a_token(text: str, looks: bool) -> None:
    """Three parts; anything else can only be an API key."""
    assert looks_like_token(text) is looks
