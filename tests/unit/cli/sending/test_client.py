"""Speaking to an ingest that is away, busy or says no."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from chaski_cli.errors import CommandError, Exit
from chaski_cli.sending.client import IngestClient
from chaski_cli.sending.lines import Line

PATH = "/v1/routes/default/first/messages"
ACCEPTED = {"status": 202}
AWAY = {"status": 503, "detail": "the queue is away"}
WRONG = {"status": 400, "detail": "wrong"}


@dataclass
class FakeIngest:
    """Gives the answers it is told to, the last one for ever, and remembers what came."""

    answers: list[web.Response | None] = field(default_factory=list)  # None: hangs up
    requests: list[bytes] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Answers one request."""
        self.requests.append(await request.read())
        chosen = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if chosen is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=chosen.status, body=chosen.body, headers=chosen.headers)


def batch(*results: dict[str, Any]) -> web.Response:
    """A batch's answer."""
    return web.Response(body=b"".join(orjson.dumps(result) + b"\n" for result in results))


def problem(status: int, detail: str) -> web.Response:
    """A whole request's refusal."""
    return web.Response(status=status, body=orjson.dumps({"title": "t", "detail": detail}))


@contextlib.asynccontextmanager
async def client(
    *answers: web.Response | None, retry_seconds: float = 30.0
) -> AsyncIterator[tuple[IngestClient, FakeIngest]]:
    """A client and the ingest that it speaks to."""
    fake = FakeIngest(list(answers))
    app = web.Application()
    app.router.add_post(PATH, fake.answer)
    app.router.add_post(PATH + ":batch", fake.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as http:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield IngestClient(http, base, "default/first", retry_seconds, lambda _: None), fake
    finally:
        await runner.cleanup()


def lines(*subjects: str) -> list[Line]:
    """One line of each subject."""
    return [Line(number, subject, b'{"n":%d}' % number) for number, subject in enumerate(subjects, start=1)]


def numbers(request: bytes) -> list[int]:
    """Which lines a request held."""
    return [orjson.loads(line)["n"] for line in request.splitlines()]


@pytest.mark.parametrize(
    "first", [None, problem(503, "later"), problem(429, "suspended")], ids=["hangs up", "503", "429"]
)
async def test_a_message_is_sent_again_until_it_is_accepted(first: web.Response | None) -> None:
    """Being away, busy or suspended is no refusal; the very same bytes go again."""
    async with client(first, web.Response(status=202, body=b'{"id":"a"}')) as (sender, ingest):
        assert await sender.send_one(b"{}", {}) == {"id": "a"}
        assert ingest.requests == [b"{}", b"{}"]


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [(400, Exit.WRONG_INPUT), (404, Exit.WRONG_INPUT), (413, Exit.WRONG_INPUT), (401, Exit.FAILED), (403, Exit.FAILED)],
)
async def test_a_refusal_is_final(status: int, exit_code: Exit) -> None:
    """One request, and the reason in ingest's own words."""
    async with client(problem(status, "because")) as (sender, ingest):
        with pytest.raises(CommandError, match="because") as caught:
            await sender.send_one(b"{}", {})
        assert caught.value.exit_code is exit_code
        assert len(ingest.requests) == 1


async def test_giving_up_names_the_last_reason() -> None:
    """When the time is over, the error says why it was not accepted."""
    async with client(problem(503, "the disk is full"), retry_seconds=0.5) as (sender, ingest):
        with pytest.raises(CommandError, match="the disk is full"):
            await sender.send_one(b"{}", {})
        assert len(ingest.requests) > 1


async def test_only_lines_that_were_not_accepted_go_again() -> None:
    """What was accepted is not sent twice, and the rest keeps its order."""
    async with client(batch(AWAY, ACCEPTED, AWAY), batch(ACCEPTED, ACCEPTED)) as (sender, ingest):
        judged = await sender.send_chunk(lines("a", "b", "a"))
        assert sorted(line.number for line in judged.accepted) == [1, 2, 3]
        assert [numbers(request) for request in ingest.requests] == [[1, 2, 3], [1, 3]]


async def test_lines_held_back_behind_a_wrong_one_go_without_it() -> None:
    """The wrong line is rejected, and those behind it are not."""
    async with client(batch(WRONG, AWAY), batch(ACCEPTED)) as (sender, ingest):
        judged = await sender.send_chunk(lines("a", "a"))
        assert [entry.number for entry in judged.rejected] == [1]
        assert [line.number for line in judged.accepted] == [2]
        assert [numbers(request) for request in ingest.requests] == [[1, 2], [2]]


async def test_what_could_not_be_sent_in_time_is_told() -> None:
    """The lines left are given back with the reason, for the caller to stop."""
    async with client(batch(ACCEPTED, AWAY), batch(AWAY), retry_seconds=0.5) as (sender, _):
        judged = await sender.send_chunk(lines("a", "b"))
        assert [line.number for line in judged.accepted] == [1]
        assert [line.number for line in judged.again] == [2]
        assert judged.reason == "the queue is away"


async def test_an_answer_of_another_length_is_no_answer() -> None:
    """It would not be known which line was accepted."""
    async with client(batch(ACCEPTED)) as (sender, _):
        with pytest.raises(CommandError, match="1 results to 2 lines"):
            await sender.send_chunk(lines("a", "b"))


async def test_an_address_that_is_none_is_the_callers_fault() -> None:
    """Exit code 2, and how to write it."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(CommandError, match="--to") as caught:
            await IngestClient(http, "http://", "default/first", 1.0, lambda _: None).send_one(b"{}", {})
    assert caught.value.exit_code is Exit.WRONG_INPUT
