"""HTTP responses, as values and as bytes."""

import functools
from email.utils import formatdate
from http import HTTPStatus

import orjson

from chaski_core.values import message_value
from chaski_ingest import problems
from chaski_ingest.http.request import HTTP_1_1
from chaski_ingest.problems import Problem

Headers = tuple[tuple[str, str], ...]
SERVER = ("Server", "chaski")  # without versions


@message_value
class Response:
    """One response."""

    status: int
    body: bytes
    headers: Headers
    close: bool = False  # the next request of this connection belongs to another server

    def to_bytes(self, now: float, version: str = HTTP_1_1, *, close: bool = False, head: bool = False) -> bytes:
        """Its bytes on a connection.

        Args:
            now: epoch seconds.
            version: of the request.
            close: whether it is the last response of the connection, also where `self.close` does not say so.
            head: without the body, as the response to a HEAD request.
        """
        start = _head(self.status, self.headers, version, close or self.close)
        return b"%b%d\r\nDate: %b\r\n\r\n%b" % (start, len(self.body), _date(int(now)), b"" if head else self.body)


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
def _head(status: int, headers: Headers, version: str, close: bool) -> bytes:
    lines = [f"HTTP/{version} {status} {HTTPStatus(status).phrase}", *[f"{name}: {value}" for name, value in headers]]
    if close != (version != HTTP_1_1):  # the default of HTTP/1.0 is to close
        lines.append(f"Connection: {'close' if close else 'keep-alive'}")
    return "\r\n".join([*lines, "Content-Length: "]).encode()


@functools.lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
