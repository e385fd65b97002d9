"""Connections whose answers can be trusted to belong to the request that was sent.

aiohttp's own handling leaves three gaps that matter where an answer decides whether a message is deleted:

- bytes that came unasked while a connection lay in the pool (a 408 before the server closes it, an answer given twice)
  are taken as the answer to the next request;
- a connection that the server has closed, but whose end the loop has not seen yet, is used again;
- an error in the body that arrives in the same packet as the headers makes the whole answer an error.

And one that costs time: what an answer holds beside its body (1xx answers, chunk extensions, trailers) is read for as
long as it comes.
"""

import asyncio
import functools
import select
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_END_OF_HEADERS = b"\r\n\r\n"


class AnswerTooLongError(aiohttp.ClientPayloadError):
    """More came than any answer needs."""


class AnswerHandler(ResponseHandler):
    """One connection.

    Args:
        loop: the running one.
        answer_bytes: of one answer, in all that it is made of; what is longer is cut off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes: int) -> None:
        super().__init__(loop)
        self._answer_bytes = answer_bytes
        self._received_bytes = 0  # since the request was sent
        self._poll: select.poll | None = None

    def set_response_params(self, **parameters: Any) -> None:
        """Begins with a new answer."""
        self._received_bytes = 0
        super().set_response_params(**parameters)

    def is_connected(self) -> bool:
        """Whether the connection can take another request. Asked only of connections that lie in the pool."""
        return super().is_connected() and not self.should_close and not self._has_unread()

    def data_received(self, data: bytes) -> None:
        """Hands over headers and body apart, so that the headers count whatever the body is."""
        self._received_bytes += len(data)
        if self._received_bytes > self._answer_bytes:
            self._cut_off()
            return
        if self._payload is not None and not self._payload.is_eof():
            super().data_received(data)
            return
        end = data.find(_END_OF_HEADERS) + len(_END_OF_HEADERS)
        if end < len(_END_OF_HEADERS) or end == len(data):
            super().data_received(data)
            return
        super().data_received(data[:end])
        if self._exception is None:
            self._receive_body(data[end:])

    def _receive_body(self, data: bytes) -> None:
        super().data_received(data)
        if self._exception is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("the body is broken"))

    def _cut_off(self) -> None:
        error = AnswerTooLongError(f"the answer has more than {self._answer_bytes} bytes")
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(error)
        self.set_exception(error)
        if self.transport is not None:
            self.transport.close()

    def _has_unread(self) -> bool:
        # Readable without having been asked means closed by the server, or an answer to nothing.
        if self.transport is None:
            return True
        if self._poll is None:
            descriptor = self.transport.get_extra_info("socket").fileno()
            if descriptor < 0:
                return True
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
        return bool(self._poll.poll(0))


class Connector(aiohttp.TCPConnector):
    """A pool of such connections. Needs a running loop."""

    def __init__(self, *, answer_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no public way to say this.
        self._factory = functools.partial(_handler, loop=self._loop, answer_bytes=answer_bytes)


def _handler(loop: asyncio.AbstractEventLoop, answer_bytes: int) -> ResponseHandler:
    return AnswerHandler(loop, answer_bytes)
