"""`chaski_client` against a real `chaski dev`, through a proxy that loses responses and refuses requests."""

import asyncio
import contextlib
import re
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from acceptance.cli_process import Target, dev, target, write_route
from chaski_client import AsyncClient, Client, Message, NotAcceptedError, Policy, RefusedError
from support.serving import served_app

ROUTE = "default/first"
PAGE = Path(__file__).parents[2] / "docs" / "client.md"


@dataclass
class Front:
    """A proxy before ingest. `losses`: how many responses are lost after ingest has accepted; `refusals`: how many requests get 503."""

    upstream: str
    losses: int = 0
    refusals: int = 0
    url: str = ""
    seen: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on."""
        body = await request.read()
        if self.refusals:
            self.refusals -= 1
            self.seen["refused"] += 1
            return web.json_response({"title": "Overloaded"}, status=503, headers={"Retry-After": "0"})
        headers = {"Content-Type": request.headers["Content-Type"]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.upstream + request.path, data=body, headers=headers) as answer,
        ):
            text = await answer.read()
            self.seen[str(answer.status)] += 1
            if self.losses:
                self.losses -= 1
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=answer.status, body=text, content_type=answer.content_type)


@dataclass
class World:
    """Chaski, a target, and the proxy."""

    front: Front
    there: Target


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """All running."""
    async with target() as there, dev(write_route(folder, there.url), folder / "data") as running:
        front = Front(running.ingest)
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{path:.*}", front.handle)
        async with served_app(app) as front.url:
            yield World(front, there)


async def sends_async(url: str, send: Callable[[AsyncClient], object], policy: Policy) -> object:
    """Runs a call with the client for asyncio."""
    async with AsyncClient(url, ROUTE, policy=policy) as client:
        return await send(client)  # type: ignore[misc]


async def sends_in_thread(url: str, send: Callable[[Client], object], policy: Policy) -> object:
    """Runs a call with the other client, in a thread."""

    def run() -> object:
        with Client(url, ROUTE, policy=policy) as client:
            return send(client)

    return await asyncio.to_thread(run)


CLIENTS = pytest.mark.parametrize(
    "sends", [pytest.param(sends_async, id="async"), pytest.param(sends_in_thread, id="sync")]
)
QUICK = Policy(10.0)


@CLIENTS
async def test_a_lost_response_makes_no_second_message(sends: Callable[..., object], tmp_path: Path) -> None:
    """Two responses lost, one request refused; the message is delivered once, and a later one follows it."""
    async with world(tmp_path) as it:
        it.front.losses, it.front.refusals = 2, 1
        first = await sends(it.front.url, lambda client: client.send("s", it.there.url, "once"), QUICK)
        second = await sends(
            it.front.url, lambda client: client.send("s", it.there.url, {"then": 1}, id="then-1"), QUICK
        )
        assert await it.there.got(2) == ["once", '{"then":1}']
        assert first.message_id != second.message_id
        assert (second.id, second.subject, second.queue, second.partition) == ("then-1", "s", "messages", 0)
        assert it.front.seen == {"refused": 1, "202": 4}


@CLIENTS
async def test_a_batch_keeps_the_order_of_each_subject(sends: Callable[..., object], tmp_path: Path) -> None:
    """1,200 messages in three requests over lost responses and refusals: each accepted and delivered once, in order; a wrong one is named."""
    async with world(tmp_path) as it:
        it.front.losses, it.front.refusals = 2, 2
        messages = [Message(subject=f"s{n % 7}", url=it.there.url, content=f"{n % 7} {n}") for n in range(1_200)]
        wrong = Message(subject="s1", url="ftp://t/", content="never")
        result = await sends(
            it.front.url, lambda client: client.send_all([*messages[:600], wrong, *messages[600:]]), QUICK
        )
        assert [each.id for each in result.accepted] == [each.id for each in messages]
        assert [(each.message, each.status) for each in result.refused] == [(wrong, 400)]
        assert "body.url" in result.refused[0].reason
        assert (result.left, result.reason) == ((), "")
        bodies = await it.there.got(1_200)
        assert len(bodies) == 1_200
        for subject in range(7):
            numbers = [int(body.split()[1]) for body in bodies if body.startswith(f"{subject} ")]
            assert numbers == sorted(numbers)


@CLIENTS
async def test_what_is_not_accepted_in_time_is_left_and_can_be_sent_again(
    sends: Callable[..., object], tmp_path: Path
) -> None:
    """The same messages again: those that were accepted although their response was lost are the same ones."""
    async with world(tmp_path) as it:
        messages = [Message(subject="s", url=it.there.url, content=str(n)) for n in range(3)]
        it.front.losses = 100
        result = await sends(it.front.url, lambda client: client.send_all(messages), Policy(0.5))
        assert (result.accepted, list(result.left)) == ((), messages)
        assert "no response from" in result.reason
        with pytest.raises(NotAcceptedError, match="within 0 s: no response"):
            await sends(it.front.url, lambda client: client.send("s", it.there.url, "x", id="x"), Policy(0.0))
        it.front.losses = 0
        again = await sends(it.front.url, lambda client: client.send_all(result.left), QUICK)
        assert len(again.accepted) == 3
        assert await it.there.got(4) == ["0", "1", "2", "x"]


@CLIENTS
async def test_refusals_name_the_reason(sends: Callable[..., object], tmp_path: Path) -> None:
    """A wrong message, a route that does not exist, and an ingest that does not listen."""
    async with world(tmp_path) as it:
        with pytest.raises(RefusedError, match=r"400: body\.url"):
            await sends(it.front.url, lambda client: client.send("s", "ftp://t/"), QUICK)
    with pytest.raises(NotAcceptedError, match="no response"):
        await sends("http://127.0.0.1:1", lambda client: client.send("s", "http://t/"), Policy(0.3))


@pytest.mark.parametrize(("program", "messages"), [("client", 1_001), ("async", 1)])
async def test_the_programs_of_the_page_run(program: str, messages: int, tmp_path: Path) -> None:
    """With the addresses of this test."""
    found = re.search(rf"(?ms)^<!-- run: {program} -->\n```python\n(.*?)^```", PAGE.read_text("utf-8"))
    assert found is not None
    async with world(tmp_path) as it:
        text = found[1].replace("http://127.0.0.1:8080", it.front.url).replace("default/dev", ROUTE)
        text = text.replace("http://127.0.0.1:9000/", it.there.url)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", text, stdout=PIPE, stderr=PIPE)
        out, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, error.decode()
        assert len(await it.there.got(messages)) == messages
        assert len(out.splitlines()) == (1 if program == "client" else 0)
