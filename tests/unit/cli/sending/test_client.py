"""The client of ingest, with an ingest that is unavailable, overloaded or rejects messages."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from chaski_cli.sending.client import Destination, IngestClient
from chaski_cli.sending.lines import Line
from chaski_runtime.process.command_error import CommandError, ExitCode
from support.serving import served_app

PATH = "/v1/routes/default/first/messages"
ACCEPTED = {"status": 202}
UNAVAILABLE = {"status": 503, "detail": "queue unavailable"}
WRONG = {"status": 400, "detail": "wrong"}


@dataclass
class FakeIngest:
    """Returns the given responses, the last one repeatedly, and records the requests."""

    responses: list[web.Response | None] = field(default_factory=list)  # None: closes the connection
    requests: list[bytes] = field(default_factory=list)
    url: str = ""

    async def respond(self, request: web.Request) -> web.Response:
        """Returns the next response."""
        self.requests.append(await request.read())
        chosen = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if chosen is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=chosen.status, body=chosen.body, headers=chosen.headers)


def batch(*results: dict[str, Any]) -> web.Response:
    """The response to a batch."""
    return web.Response(body=b"".join(orjson.dumps(result) + b"\n" for result in results))


def problem(status: int, detail: str) -> web.Response:
    """The rejection of a whole request."""
    return web.Response(status=status, body=orjson.dumps({"title": "t", "detail": detail}))


@contextlib.asynccontextmanager
async def client(
    *responses: web.Response | None, retry_seconds: float = 30.0
) -> AsyncIterator[tuple[IngestClient, FakeIngest]]:
    """A client and its ingest."""
    fake = FakeIngest(list(responses))
    app = web.Application()
    app.router.add_post(PATH, fake.respond)
    app.router.add_post(PATH + ":batch", fake.respond)
    async with served_app(app) as base, aiohttp.ClientSession() as http:
        yield IngestClient(http, Destination(base, "default/first", retry_seconds), lambda _: None), fake


def lines(*subjects: str) -> list[Line]:
    """One line per subject."""
    return [Line(number, subject, b'{"n":%d}' % number) for number, subject in enumerate(subjects, start=1)]


def numbers(request: bytes) -> list[int]:
    """The line numbers in a request."""
    return [orjson.loads(line)["n"] for line in request.splitlines()]


@pytest.mark.parametrize(
    "first", [None, problem(503, "later"), problem(429, "suspended")], ids=["closed connection", "503", "429"]
)
async def test_a_message_is_retried_until_it_is_accepted(first: web.Response | None) -> None:
    """The same bytes are sent again while ingest is unavailable, overloaded or suspended."""
    async with client(first, web.Response(status=202, body=b'{"id":"a"}')) as (sender, ingest):
        assert await sender.send_one(b"{}", {}) == {"id": "a"}
        assert ingest.requests == [b"{}", b"{}"]


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, ExitCode.WRONG_INPUT),
        (404, ExitCode.WRONG_INPUT),
        (413, ExitCode.WRONG_INPUT),
        (401, ExitCode.FAILED),
        (403, ExitCode.FAILED),
    ],
)
async def test_a_rejection_is_final(status: int, exit_code: ExitCode) -> None:
    """One request, and ingest's reason."""
    async with client(problem(status, "because")) as (sender, ingest):
        with pytest.raises(CommandError, match="because") as caught:
            await sender.send_one(b"{}", {})
        assert caught.value.exit_code is exit_code
        assert len(ingest.requests) == 1


async def test_a_timeout_names_the_last_reason() -> None:
    """The error says why the message was not accepted."""
    async with client(problem(503, "the disk is full"), retry_seconds=0.5) as (sender, ingest):
        with pytest.raises(CommandError, match="the disk is full"):
            await sender.send_one(b"{}", {})
        assert len(ingest.requests) > 1


async def test_only_lines_that_were_not_accepted_are_retried() -> None:
    """Accepted lines are sent once, and the rest keeps its order."""
    async with client(batch(UNAVAILABLE, ACCEPTED, UNAVAILABLE), batch(ACCEPTED, ACCEPTED)) as (sender, ingest):
        result = await sender.send_chunk(lines("a", "b", "a"))
        assert sorted(each.line.number for each in result.accepted) == [1, 2, 3]
        assert [numbers(request) for request in ingest.requests] == [[1, 2, 3], [1, 3]]


async def test_lines_held_back_behind_a_rejected_one_are_sent_without_it() -> None:
    """The invalid line is rejected, the following ones are not."""
    async with client(batch(WRONG, UNAVAILABLE), batch(ACCEPTED)) as (sender, ingest):
        result = await sender.send_chunk(lines("a", "a"))
        assert [entry.number for entry in result.rejected] == [1]
        assert [each.line.number for each in result.accepted] == [2]
        assert [numbers(request) for request in ingest.requests] == [[1, 2], [2]]


async def test_lines_that_were_not_sent_in_time_are_unsettled() -> None:
    """With the reason."""
    async with client(batch(ACCEPTED, UNAVAILABLE), batch(UNAVAILABLE), retry_seconds=0.5) as (sender, _):
        result = await sender.send_chunk(lines("a", "b"))
        assert [each.line.number for each in result.accepted] == [1]
        assert [line.number for line in result.unsettled] == [2]
        assert result.reason == "queue unavailable"


async def test_a_response_of_another_length_is_an_error() -> None:
    """It is unknown which lines were accepted."""
    async with client(batch(ACCEPTED)) as (sender, _):
        with pytest.raises(CommandError, match="1 results for 2 lines"):
            await sender.send_chunk(lines("a", "b"))


async def test_an_invalid_address_is_wrong_input() -> None:
    """Exit code 2, with an example."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(CommandError, match="--to") as caught:
            await IngestClient(http, Destination("http://", "default/first", 1.0), lambda _: None).send_one(b"{}", {})
    assert caught.value.exit_code is ExitCode.WRONG_INPUT
