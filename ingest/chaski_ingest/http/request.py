"""Requests, whose bodies may still be arriving, and the checks of headers and bodies before a body is parsed."""

import asyncio
from collections.abc import Callable, Mapping

from multidict import CIMultiDict

from chaski_ingest import problems
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import Reservation

CONTINUE = "100-continue"
JSON = "application/json"
NDJSON = "application/x-ndjson"
HTTP_1_1 = "1.1"
_MAX_CAUSE_CHARACTERS = 200
_MAX_HELD_BYTES = 64 * 1024  # and one read more; the handlers reserve what they read
_RESUME_BYTES = 16 * 1024


class BodyError(Exception):
    """A body does not arrive to its end; the text says why."""


class ReadFlow:
    """Pauses a connection while it holds many bytes of bodies that no handler has read.

    Args:
        pause: stops reading from the socket; called again, it does nothing.
        resume: starts reading again, where nothing else forbids it.
        send_continue: asks a client that waits with its body to send it.
    """

    __slots__ = ("_pause", "_resume", "held", "send_continue")

    def __init__(
        self, pause: Callable[[], None], resume: Callable[[], None], send_continue: Callable[[], None]
    ) -> None:
        self.held = 0  # bytes
        self.send_continue = send_continue
        self._pause = pause
        self._resume = resume

    @property
    def full(self) -> bool:
        """Whether no more should be read."""
        return self.held > _MAX_HELD_BYTES

    def hold(self, size: int) -> None:
        """Counts bytes that have arrived."""
        self.held += size
        if self.held > _MAX_HELD_BYTES:
            self._pause()

    def release(self, size: int) -> None:
        """Counts bytes that were read or dropped."""
        before, self.held = self.held, self.held - size
        if self.held <= _RESUME_BYTES < before:
            self._resume()


class Request:
    """One request, from the moment that its head has arrived."""

    __slots__ = (
        "_data", "_dropping", "_error", "_flow", "_waiter",
        "complete", "content_length", "expectation", "headers", "keep_alive", "method", "target", "version",
    )  # fmt: skip

    def __init__(
        self, method: str, target: str, version: str, headers: CIMultiDict[str], *, keep_alive: bool, flow: ReadFlow
    ) -> None:
        """A request without any of its body yet.

        Args:
            method: as sent.
            target: the request target (RFC 9112 §3.2), as sent.
            version: `1.0` or `1.1`.
            headers: names are case-insensitive.
            keep_alive: whether another request may follow on the connection.
            flow: of the connection.
        """
        self.method = method
        self.target = target
        self.version = version
        self.headers: Mapping[str, str] = headers
        self.keep_alive = keep_alive
        self.expectation = _expectation(headers) if version == HTTP_1_1 else ""
        length = headers.get("Content-Length")
        self.content_length = None if length is None else int(length)
        self.complete = False  # the body has arrived to its end
        self._flow = flow
        self._data: bytes | bytearray = b""  # what has arrived and was not read
        self._dropping = False
        self._error: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def awaits_continue(self) -> bool:
        """Whether the client sends its body only after the status 100, or never where it gets a final status."""
        return self.expectation == CONTINUE and not self.complete

    # ---- as the connection sees it

    def feed(self, data: bytes) -> None:
        """Adds bytes of the body."""
        if self._dropping:
            return
        if not self._data:
            self._data = data
        elif isinstance(self._data, bytearray):
            self._data += data
        else:
            self._data = bytearray(self._data)
            self._data += data
        self._flow.hold(len(data))
        self._wake()

    def end(self) -> None:
        """The body is complete."""
        self.complete = True
        self._wake()

    def fail(self, reason: str) -> None:
        """The rest of the body does not arrive."""
        self._error = reason
        self._wake()

    def drop_body(self) -> None:
        """Drops what has arrived and what still arrives."""
        self._dropping = True
        if self._data:
            self._take()

    async def arrived(self) -> None:
        """Returns once the body is complete or has failed."""
        while not self.complete and self._error is None:
            await self._arrival()

    # ---- as its handler sees it

    async def body(self, limit: int, settings: IngestSettings, reservation: Reservation) -> bytes | Problem:
        """The body, if it has at most `limit` bytes and arrives in time, and `reservation` can grow by it.

        A body that has arrived with its head reserves nothing: a single message goes to the send buffer, which counts it,
        without waiting in between. A declared length alone takes no memory and reserves nothing.
        """
        declared = self.content_length
        if declared is not None and declared > limit:
            return problems.body_too_large(limit)
        if self.complete:
            data = self._take()
            return data if len(data) <= limit else problems.body_too_large(limit)
        if not reservation.fits(declared or 0) or not reservation.grow(0):  # counted while its body arrives
            return bodies_full(settings)
        if self.awaits_continue:
            self.expectation = ""
            self._flow.send_continue()
        try:
            return await self._read_at_pace(limit, settings, reservation)
        except TimeoutError:
            return problems.of_status(408, _pace_detail(settings))
        except BodyError as error:
            return problems.of_status(400, f"the body is incomplete or malformed: {error}"[:_MAX_CAUSE_CHARACTERS])

    async def _read_at_pace(self, limit: int, settings: IngestSettings, reservation: Reservation) -> bytes | Problem:
        body, mark = bytearray(), 0
        loop = asyncio.get_running_loop()
        end, pace = loop.time() + settings.body_timeout_seconds, settings.body_pace_seconds
        async with asyncio.timeout_at(min(end, loop.time() + pace)) as timer:
            while piece := await self._read():
                if len(body) + len(piece) > limit:
                    return problems.body_too_large(limit)
                if not reservation.grow(len(piece)):
                    return bodies_full(settings)
                body += piece
                if len(body) - mark >= settings.body_pace_bytes:
                    mark = len(body)
                    timer.reschedule(min(end, loop.time() + pace))
        return bytes(body)

    async def _read(self) -> bytes:
        """What has arrived since the last call; b"" after the end."""
        while not self._data and not self.complete:
            if self._error is not None:
                raise BodyError(self._error)
            await self._arrival()
        return self._take()

    def _take(self) -> bytes:
        data, self._data = self._data, b""
        self._flow.release(len(data))
        return bytes(data)

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expectation(headers: CIMultiDict[str]) -> str:
    """The Expect header's value in lower case (RFC 9110 §10.1.1); "" without one."""
    if "Expect" not in headers:
        return ""
    return ", ".join(headers.getall("Expect", ())).strip().lower()


# ---- headers and problems


def type_problem(headers: Mapping[str, str], expected: str) -> Problem | None:
    """The problem of a body with another type, charset or encoding than expected. Without Content-Type it is as expected."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        return problems.unsupported(
            f'Content-Encoding "{_shown(encoding)}" is not supported; send the body uncompressed'
        )
    given = headers.get("Content-Type")
    if given is None or given == expected:
        return None
    kind, *parameters = (part.strip().lower() for part in given.split(";"))
    if kind != expected:
        return problems.unsupported(f'Content-Type "{_shown(given)}" is not supported; send "{expected}"')
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        return problems.unsupported(f'charset "{_shown(charset)}" is not supported; JSON is UTF-8 (RFC 8259)')
    return None


def _shown(value: str) -> str:
    """A header's value without the bytes that are not UTF-8, which JSON can't express."""
    return value.encode("utf-8", "replace").decode()


def bodies_full(settings: IngestSettings) -> Problem:
    """The problem of a body beyond a limit of all bodies, or beyond the share of its producer or namespace."""
    return problems.overloaded(
        "this server holds too many incomplete requests or bytes of bodies, of this producer, its namespace, or all",
        settings.retry_after_seconds,
    )


def _pace_detail(settings: IngestSettings) -> str:
    pace = f"{settings.body_pace_bytes} bytes in {settings.body_pace_seconds:g} s"
    return f"the body arrived slower than {pace}, or not within {settings.body_timeout_seconds:g} s"
