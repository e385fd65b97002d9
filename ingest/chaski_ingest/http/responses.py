"""HTTP responses, as values and as bytes."""

import functools
from email.utils import formatdate
from http import HTTPStatus

import orjson
from aiohttp import web

from chaski_core.values import message_value
from chaski_ingest import problems
from chaski_ingest.problems import Problem

Headers = tuple[tuple[str, str], ...]
SERVER = ("Server", "chaski")  # aiohttp's default shows its own version and Python's


@message_value
class Response:
    """One response."""

    status: int
    body: bytes
    headers: Headers
    close: bool = False  # the next request of this connection belongs to another server

    def to_aiohttp(self) -> web.Response:
        """For aiohttp's server."""
        response = web.Response(status=self.status, body=self.body, headers=self.headers)
        if self.close:
            response.force_close()
        return response

    def to_bytes(self, now: float) -> bytes:
        """Its bytes on an HTTP/1.1 connection; `now`: epoch seconds."""
        head = _head(self.status, self.headers, self.close)
        return b"%b%d\r\nDate: %b\r\n\r\n%b" % (head, len(self.body), _date(int(now)), self.body)


def problem_response(problem: Problem, *, close: bool = False, allow: str = "POST") -> Response:
    """A problem as an HTTP response; `allow` is the method that a 405 names."""
    headers = [("Content-Type", problems.CONTENT_TYPE), SERVER]
    if problem.retry_after_seconds is not None:
        headers.append(("Retry-After", str(problem.retry_after_seconds)))
    if problem.status == 405:
        headers.append(("Allow", allow))
    if problem.status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="chaski"'))
    return Response(problem.status, orjson.dumps(problem.as_json()), tuple(headers), close)


@functools.lru_cache(64)
def _head(status: int, headers: Headers, close: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *[f"{name}: {value}" for name, value in headers]]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "Content-Length: "]).encode()


@functools.lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
