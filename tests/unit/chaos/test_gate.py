"""The gate: each fault is what its name says, and the recording says what the service and the client knew."""

import asyncio
import json
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from chaos.evidence import Call
from chaos.gate import Gate, Treatment, aws_refusal, refusal
from support.kube.fake_server import serving
from support.until import until

LIST = "/apis/apps/v1/namespaces/ns/deployments"
OBJECT = f"{LIST}/x"
ITEMS = {"items": [{"n": n} for n in range(2_000)]}
WRITTEN = {"metadata": {"uid": "u", "resourceVersion": "7"}}


class Service:
    """A fake API server and AWS behind a gate, and a client."""

    def __init__(self) -> None:
        self.asked = 0
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.calls: list[Call] = []
        self.gate: Gate
        self.client: aiohttp.ClientSession

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A list, a watch, or an object."""
        self.asked += 1
        if "watch=true" not in request.query_string:
            return web.json_response(ITEMS if request.path == LIST else WRITTEN)
        response = web.StreamResponse()
        await response.prepare(request)
        while piece := await self.events.get():
            await response.write(piece)
        return response

    def treat(self, treatment: Treatment) -> None:
        """Treats every request like this."""
        self.gate.modes["test"] = lambda _call, _chance: treatment


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A gate of one operator."""
    made = Service()
    async with serving(made.answer) as url:
        made.gate = Gate("a", url, None, random.Random(1), made.calls)
        async with made.gate.running(), aiohttp.ClientSession(made.gate.url) as made.client:
            yield made


async def test_requests_pass_and_are_recorded(service: Service) -> None:
    """Without a fault the answer is the service's; a write's version and uid are recorded."""
    owner = {"metadata": {"ownerReferences": [{"uid": "o", "controller": True}]}}
    async with service.client.patch(f"{OBJECT}?force=true", json=owner) as answer:
        assert await answer.json() == WRITTEN
    async with service.client.get(LIST) as answer:
        assert await answer.json() == ITEMS
    write, listed = service.calls
    assert (write.namespace, write.plural, write.name) == ("ns", "deployments", "x")
    assert (write.uid, write.version, write.owner, write.status) == ("u", 7, "o", 200)
    assert write.writes
    assert not listed.writes
    assert write.done is not None
    assert write.answered is not None
    assert write.at <= write.done <= write.answered <= listed.at


async def test_refusals_do_not_reach_the_service(service: Service) -> None:
    """429 with Retry-After, and an error of AWS."""
    service.treat(refusal("429", 429, "TooManyRequests", {"Retry-After": "1"}))
    async with service.client.get(LIST) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (await answer.json())["reason"] == "TooManyRequests"
    service.treat(aws_refusal("throttled", 400, "RequestThrottled"))
    async with service.client.post("/", json={}) as answer:
        assert answer.status == 400
        assert (await answer.json())["__type"].endswith("#RequestThrottled")
    assert service.asked == 0
    assert [each.treatment for each in service.calls] == ["429", "throttled"]


async def test_list_is_cut_in_the_middle(service: Service) -> None:
    """Status and headers arrive, and a part of the body."""
    service.treat(Treatment(name="cut", cut=True))
    async with service.client.get(LIST) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_lost_answer_is_executed(service: Service) -> None:
    """The service executes the request; the client gets no answer."""
    service.treat(Treatment(name="lost", lose=True))
    with pytest.raises(aiohttp.ClientError):
        await service.client.post(OBJECT, json={})  # aiohttp repeats a PUT
    assert service.asked == 1
    (call,) = service.calls
    assert call.done is not None
    assert call.answered is None


async def test_late_answer_is_what_the_service_answered_before(service: Service) -> None:
    """The service answers at once; the client waits."""
    service.treat(Treatment(name="late", hold=0.3))
    async with service.client.get(LIST):
        (call,) = service.calls
    assert call.done is not None
    assert call.answered is not None
    assert call.answered - call.done >= 0.3


async def test_frozen_request_of_a_client_that_gave_up_does_not_arrive(service: Service) -> None:
    """While frozen nothing passes; afterwards only what is still waited for."""
    service.gate.flowing.clear()
    with pytest.raises(TimeoutError):
        await service.client.put(OBJECT, json={}, timeout=aiohttp.ClientTimeout(total=0.2))
    waiting = asyncio.create_task(service.client.get(LIST))
    await until(lambda: len(service.calls) == 2)
    assert service.asked == 0
    service.gate.flowing.set()
    async with await waiting as answer:
        assert answer.status == 200
    assert service.asked == 1


async def test_watch_is_cut_within_a_line(service: Service) -> None:
    """An event arrives as a whole, the next one not."""
    line = json.dumps({"type": "ADDED", "object": {"n": 1}}).encode() + b"\n"
    async with service.client.get(f"{LIST}?watch=true") as answer:
        service.events.put_nowait(line)
        assert await answer.content.readline() == line
        service.gate.cut_share = 1.0
        service.events.put_nowait(line)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            assert await answer.content.read() != line
    service.events.put_nowait(b"")


async def test_watch_that_expired(service: Service) -> None:
    """An ERROR event with 410, as the API server sends it for a version that is too old."""
    service.treat(Treatment(name="410", gone=True))
    async with service.client.get(f"{LIST}?watch=true&resourceVersion=1") as answer:
        event = json.loads(await answer.content.readline())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
