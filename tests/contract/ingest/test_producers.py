"""Authentication and rate limits of producers, over HTTP."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import orjson
import pytest

from chaski_core.route.model import Producer
from chaski_ingest.auth.authenticators import ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.http.server import IngestServer
from unit.ingest.fakes import Directory, FakeBackend, FakeClock, make_ingest, resolved

KEY, BOUND_KEY = "a key of thirty-two random bytes", "the key of a producer of some subjects"
LINE = b'{"subject":"s","body":{"url":"https://api.example/"}}'
PATH = "/v1/routes/helpdesk/conversations/messages"


class Scene:
    """An ingest with two producers of two messages a second each, of which one may send some subjects only."""

    def __init__(self) -> None:
        self.clock, self.backend = FakeClock(), FakeBackend()
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        made = resolved()
        bound = hashlib.sha256(BOUND_KEY.encode()).hexdigest()
        producers = (Producer(None, None, (digest,), 2), Producer(None, None, (bound,), 2, ("a_*",)))
        route = replace(made, route=replace(made.route, producers=producers))
        authenticator = ProducerAuthenticator(None, RateLimits(self.clock.monotonic))
        self.server = IngestServer(make_ingest(self.backend, routes=Directory(route), authenticator=authenticator))
        self.port = 0

    async def post(
        self, body: bytes, *, batch: bool = False, key: str | None = KEY
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the response."""
        headers = {"Content-Type": "application/x-ndjson" if batch else "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key is not None else {}
        url = f"http://127.0.0.1:{self.port}{PATH}{':batch' if batch else ''}"
        async with aiohttp.ClientSession() as client, client.post(url, data=body, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.read()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A running one."""
    made = Scene()
    made.port = await made.server.start("127.0.0.1", 0)
    yield made
    await made.server.drain()


@pytest.mark.parametrize("key", [None, "another key"], ids=["none", "unknown"])
async def test_an_unknown_producer_is_challenged(scene: Scene, key: str | None) -> None:
    """401 with the header that RFC 9110 requires; nothing is sent to a queue."""
    for batch in (False, True):
        status, headers, body = await scene.post(LINE, batch=batch, key=key)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="chaski"')
        assert orjson.loads(body)["type"] == "urn:chaski:problem:unauthorized"
    assert scene.backend.queues == {}


@pytest.mark.promise(14)
async def test_a_producer_sends_only_the_subjects_that_are_its_own(scene: Scene) -> None:
    """Another subject is answered 403 with a type of its own, and the message is not sent."""
    status, headers, body = await scene.post(LINE, key=BOUND_KEY)
    assert (status, headers["Content-Type"]) == (403, "application/problem+json")
    problem = orjson.loads(body)
    assert (problem["type"], problem["errors"][0]["field"]) == ("urn:chaski:problem:subject-denied", "subject")
    assert scene.backend.queues == {}
    assert (await scene.post(LINE.replace(b'"s"', b'"a_1"'), key=BOUND_KEY))[0] == 202


async def test_a_batch_is_accepted_as_a_whole_and_debited_afterwards(scene: Scene) -> None:
    """Blank lines cost nothing; then nothing more is accepted until the debt is paid."""
    status, _, body = await scene.post(b"\n".join([LINE, b"", LINE, LINE, LINE, LINE, b""]), batch=True)
    assert (status, body.count(b'"status":202')) == (200, 5)
    status, headers, body = await scene.post(LINE)
    assert (status, headers["Retry-After"], orjson.loads(body)["type"]) == (429, "2", "urn:chaski:problem:rate-limited")
    scene.clock.seconds = 2.0
    assert (await scene.post(LINE))[0] == 202
    assert (await scene.post(LINE))[0] == 429


async def test_without_authentication_a_web_page_may_not_send() -> None:
    """A page can make a browser post to 127.0.0.1; a body without a type needs no preflight request."""
    backend = FakeBackend()
    server = IngestServer(make_ingest(backend))
    port = await server.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}{PATH}"
    async with aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as client:
        for origin, status in (("https://evil.example", 403), (f"http://127.0.0.1:{port}", 403), ("null", 403)):
            async with client.post(url, data=LINE, headers={"Origin": origin}) as answer:
                assert answer.status == status
        async with client.options(url, headers={"Origin": "https://evil.example"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert backend.queues == {}
        async with client.post(url, data=LINE) as answer:
            assert answer.status == 202
    await server.drain()
