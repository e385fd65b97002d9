"""A request's headers and body, before anything is known of what the body says."""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import StreamReader, web

from chaski_ingest.http import problems
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import CapacityHold

JSON = "application/json"
NDJSON = "application/x-ndjson"
_MAX_CAUSE_CHARACTERS = 200


def type_problem(headers: Mapping[str, str], expected: str) -> Problem | None:
    """Whether the body is of another kind than expected; a request that names none is taken at its word."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        return problems.unsupported(f'Content-Encoding "{encoding}" is not taken; send the body as it is')
    given = headers.get("Content-Type")
    if given is None or given == expected:
        return None
    kind, *parameters = (part.strip().lower() for part in given.split(";"))
    if kind != expected:
        return problems.unsupported(f'Content-Type "{given}" is not taken; send "{expected}"')
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        return problems.unsupported(f'charset "{charset}" is not taken; JSON is UTF-8 (RFC 8259)')
    return None


async def read_body(
    request: web.BaseRequest, limit: int, settings: IngestSettings, hold: CapacityHold, begin: Callable[[], None]
) -> bytes | Problem:
    """The body, if it is at most `limit` bytes and arrives in time.

    Args:
        request: whose body it is.
        limit: its most bytes.
        settings: how fast it has to come.
        hold: grows with what has arrived; what a client only announces takes no memory, and so no room.
        begin: called once the body is going to be read.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        return problems.body_too_large(limit)
    if not hold.fits(declared or 0):
        return no_room(settings)
    begin()
    try:
        return await _read_paced(request.content, limit, settings, hold)
    except TimeoutError:
        return problems.of_status(408, _slow(settings))
    except (web.RequestPayloadError, ConnectionError) as error:
        return problems.of_status(400, f"the body broke off or is malformed: {error}"[:_MAX_CAUSE_CHARACTERS])


async def _read_paced(
    content: StreamReader, limit: int, settings: IngestSettings, hold: CapacityHold
) -> bytes | Problem:
    body, mark = bytearray(), 0
    loop = asyncio.get_running_loop()
    end, pace = loop.time() + settings.body_timeout_seconds, settings.body_pace_seconds
    async with asyncio.timeout_at(min(end, loop.time() + pace)) as timer:
        while piece := await content.readany():
            if len(body) + len(piece) > limit:
                return problems.body_too_large(limit)
            if not hold.grow(len(piece)):
                return no_room(settings)
            body += piece
            if len(body) - mark >= settings.body_pace_bytes:
                mark = len(body)
                timer.reschedule(min(end, loop.time() + pace))
    return bytes(body)


def no_room(settings: IngestSettings) -> Problem:
    """What is answered where a body has no place."""
    return problems.overloaded(
        "too many bytes of requests are held, by this producer or by all", settings.retry_after_seconds
    )


def _slow(settings: IngestSettings) -> str:
    pace = f"{settings.body_pace_bytes} bytes in {settings.body_pace_seconds:g} s"
    return f"the body came slower than {pace}, or not within {settings.body_timeout_seconds:g} s"
