"""ServiceAccount tokens: the TokenReviews, and the cache of their results."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chaski_ingest.auth.token_review import Denied, Identity, TokenReviewer, is_jwt_shaped
from chaski_runtime.kube.client import KubeRefusedError, KubeUnavailableError
from unit.ingest.fakes import NOW, FakeClock

SECONDS = NOW // 1000
YES = {
    "authenticated": True,
    "audiences": ["chaski"],
    "user": {"username": "system:serviceaccount:helpdesk:channels"},
}


def token(**claims: Any) -> str:
    """A token with these claims; only the API server checks signatures."""
    full = {"aud": ["chaski"], "exp": SECONDS + 3_600, "sub": "system:serviceaccount:helpdesk:channels"} | claims
    payload = base64.urlsafe_b64encode(json.dumps(full).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl"


class FakeApi:
    """An API server that returns `status`, or raises it."""

    def __init__(self, status: object = None) -> None:
        self.status = YES if status is None else status
        self.reviews: list[Mapping[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def review(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One TokenReview."""
        self.reviews.append(body)
        await self.open.wait()
        if isinstance(self.status, Exception):
            raise self.status
        return {"status": self.status}


async def test_a_token_is_reviewed_for_our_audience_and_cached_for_a_minute() -> None:
    """A request within a minute needs no review, the next one does."""
    api, clock = FakeApi(), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token()
    for seconds, asked in ((0.0, 1), (59.9, 1), (60.0, 2)):
        clock.seconds = seconds
        assert await reviewer.identity(shown) == Identity("helpdesk", "channels")
        assert len(api.reviews) == asked
    assert api.reviews[0]["spec"] == {"token": shown, "audiences": ["chaski"]}


async def test_a_token_is_not_cached_beyond_its_expiry() -> None:
    """It may expire within the minute."""
    api, clock = FakeApi(), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token(exp=SECONDS + 10)
    for seconds, asked in ((0.0, 1), (9.0, 1), (10.0, 2)):
        clock.seconds = seconds
        await reviewer.identity(shown)
        assert len(api.reviews) == asked


@pytest.mark.parametrize(
    ("shown", "part"),
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
async def test_a_token_that_is_invalid_by_its_own_claims_is_refused_without_a_review(shown: str, part: str) -> None:
    """A flood of these causes no load on the API server."""
    api = FakeApi()
    denied = await TokenReviewer(api.review, FakeClock()).identity(shown)
    assert isinstance(denied, Denied)
    assert denied.status == 401
    assert part in denied.detail
    assert api.reviews == []


@pytest.mark.parametrize(
    ("status", "code", "part"),
    [
        ({"authenticated": False, "error": "[invalid bearer token, secret inside]"}, 401, "not valid"),
        ({}, 401, "not valid"),
        ({**YES, "authenticated": "true"}, 401, "not valid"),
        ({**YES, "audiences": []}, 401, "audience"),
        ({**YES, "audiences": ["other"]}, 401, "audience"),
        ({"authenticated": True, "user": YES["user"]}, 401, "audience"),
        ({**YES, "user": {"username": "admin"}}, 403, "ServiceAccount"),
        ({**YES, "user": {"username": "system:serviceaccount:"}}, 403, "ServiceAccount"),
        ({**YES, "user": {}}, 403, "ServiceAccount"),
    ],
)
async def test_a_refused_token_is_cached_for_five_seconds(status: Mapping[str, Any], code: int, part: str) -> None:
    """The API server's reason goes to the log only."""
    api, clock = FakeApi(status), FakeClock()
    reviewer, shown = TokenReviewer(api.review, clock), token()
    for seconds, asked in ((0.0, 1), (4.9, 1), (5.0, 2)):
        clock.seconds = seconds
        denied = await reviewer.identity(shown)
        assert isinstance(denied, Denied)
        assert denied.status == code
        assert part in denied.detail
        assert "secret" not in denied.detail
        assert len(api.reviews) == asked


@pytest.mark.parametrize(
    "error", [KubeUnavailableError("unavailable"), KubeRefusedError(403, "Forbidden", "no rights")]
)
async def test_while_the_api_server_is_unavailable_tokens_get_503(error: Exception) -> None:
    """Also tokens that were valid before; the failure is not cached."""
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


class ExactApi(FakeApi):
    """An API server that knows one token, character by character."""

    def __init__(self, known: str) -> None:
        super().__init__()
        self._known = known

    async def review(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One TokenReview."""
        self.status = YES if body["spec"]["token"] == self._known else {"authenticated": False}
        return await super().review(body)


def _encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("part", "text"),
    [
        (0, _encoded({"alg": "RS256", "kid": "another"})),
        (0, _encoded({"alg": "RS256", "kid": "../../dev/null"})),
        (0, _encoded({"alg": "HS256"})),
        (0, _encoded({"alg": "none"})),
        (1, token(aud=["chaski", "other"]).split(".")[1]),
        (1, token(exp=SECONDS + 7_200).split(".")[1]),
        (1, token(sub="system:serviceaccount:kube-system:admin").split(".")[1]),
        (1, token().split(".")[1] + "A"),
        (2, "c2lnbmF0dXJm"),
        (2, "c2lnbmF0dXJlAA"),
    ],
)
async def test_a_changed_token_is_not_served_from_the_cache_of_another(part: int, text: str) -> None:
    """Key, algorithm, claims and signature are all of what is cached, so each change is reviewed, or refused, by itself."""
    good = token()
    api = ExactApi(good)
    reviewer = TokenReviewer(api.review, FakeClock())
    assert await reviewer.identity(good) == Identity("helpdesk", "channels")
    parts = good.split(".")
    parts[part] = text
    denied = await reviewer.identity(".".join(parts))
    assert isinstance(denied, Denied)
    assert denied.status == 401
    asked = len(api.reviews)
    assert await reviewer.identity(good) == Identity("helpdesk", "channels")
    assert len(api.reviews) == asked


async def test_a_token_of_another_audience_is_refused_while_it_is_valid_for_its_own() -> None:
    """The API server's word counts, not the token's claim; the refusal evicts no valid token."""
    api = FakeApi()
    reviewer, good, claimed = TokenReviewer(api.review, FakeClock()), token(), token(aud=["chaski"], n=1)
    await reviewer.identity(good)
    api.status = {**YES, "audiences": ["https://kubernetes.default.svc"]}
    denied = await reviewer.identity(claimed)
    assert isinstance(denied, Denied)
    assert (denied.status, "audience" in denied.detail) == (401, True)
    assert await reviewer.identity(good) == Identity("helpdesk", "channels")


async def test_concurrent_requests_with_a_token_share_one_review() -> None:
    """Also when the first of them is cancelled."""
    api = FakeApi()
    api.open.clear()
    reviewer, shown = TokenReviewer(api.review, FakeClock()), token()
    asking = [asyncio.create_task(reviewer.identity(shown)) for _ in range(5)]
    while not api.reviews:
        await asyncio.sleep(0)
    asking[0].cancel()
    api.open.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [Identity("helpdesk", "channels")] * 4
    assert len(api.reviews) == 1
    assert reviewer._in_progress == {}


async def test_the_cache_is_bounded_and_invalid_tokens_evict_no_valid_one() -> None:
    """Ten thousand valid and ten thousand invalid ones."""
    api = FakeApi()
    reviewer, good = TokenReviewer(api.review, FakeClock()), token()
    await reviewer.identity(good)
    api.status = {"authenticated": False}
    for number in range(10_100):
        await reviewer.identity(token(n=number))
    assert len(reviewer._invalid) == 10_000
    asked = len(api.reviews)
    assert isinstance(await reviewer.identity(good), Identity)
    assert len(api.reviews) == asked


@pytest.mark.promise(14)
async def test_forged_tokens_delay_no_token_that_was_valid_before() -> None:
    """Unknown tokens wait in a bounded queue, beyond it they get 503; known ones have a limit of their own."""
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
    while not any(each["spec"]["token"] == good for each in api.reviews[1:]):
        await asyncio.sleep(0)
    answered = [each for each in strangers if each.done()]
    assert len(answered) == 2_000 - 512
    assert {each.result().status for each in answered if isinstance(each.result(), Denied)} == {503}
    api.open.set()
    assert await renewed == Identity("helpdesk", "channels")
    await asyncio.gather(*strangers)


async def test_concurrent_reviews_are_limited() -> None:
    """A flood of well-formed tokens does not become a flood at the API server."""
    api = FakeApi()
    api.open.clear()
    reviewer = TokenReviewer(api.review, FakeClock())
    asking = [asyncio.create_task(reviewer.identity(token(n=number))) for number in range(50)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(api.reviews) == 16
    api.open.set()
    await asyncio.gather(*asking)
    assert len(api.reviews) == 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [(token(), True), ("a.b.c", True), ("secret", False), ("a.b", False), ("a..c", False), ("a.b.c.d", False)],
)
def test_a_token_has_three_parts(text: str, expected: bool) -> None:
    """Anything else can only be an API key."""
    assert is_jwt_shaped(text) is expected
