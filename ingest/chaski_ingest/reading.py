"""A request's headers and body, before anything is known of what the body says."""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from chaski_ingest import problems
from chaski_ingest.problems import Problem

JSON = "application/json"
NDJSON = "application/x-ndjson"


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


async def read_body(request: web.BaseRequest, limit: int, timeout_seconds: float) -> bytes | Problem:
    """The body, if it is at most `limit` bytes and arrives in time."""
    declared = request.content_length
    if declared is not None and declared > limit:
        return problems.body_too_large(limit)
    if declared is None:  # chunked: only the reader can count
        request = request.clone(client_max_size=limit)
    elif request.content.is_eof():  # came in with the headers, as nearly always
        return await request.read()
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return problems.body_too_large(limit)
    except TimeoutError:
        return problems.of_status(408, f"the body did not arrive within {timeout_seconds:g} s")
