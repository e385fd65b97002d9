"""A target as a separate process: `python target.py FILE`. It responds as described by a message's token and records every request.

Each request is one line of FILE, written at its end, with fields separated by tabs: arrival and end in seconds of the monotonic clock,
token, Chaski-Attempt, Chaski-Message-Id, Chaski-Id, webhook-id, status. Status 0: the target did not respond on purpose (hang, reset);
-1: the caller disconnected before the response. A line `stall BEGIN END` records that this process itself was stalled.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop

from campaign.plan import behaviour_of, failures_of, status_of, wait_of

CLOSE_EVERY = 8  # one of this number of responses closes its connection, so that new ones are opened all the time
HANG_SECONDS = 60.0
STALL_SECONDS = 1.0
_TICK = 0.25


class Recorder:
    """The file, and the number of failures of each message."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lines: list[str] = []
        self.failed: Counter[str] = Counter()
        self.answered = 0
        self.open: set[Connection] = set()

    def note(self, *fields: object) -> None:
        """Buffers a line."""
        self._lines.append("\t".join(map(str, fields)))

    def flush(self) -> None:
        """Writes the buffered lines."""
        if self._lines:
            os.write(self._descriptor, "".join(f"{line}\n" for line in self._lines).encode())
            self._lines.clear()

    async def run(self) -> None:
        """Flushes four times a second, and records stalls of this process."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK)
            after = time.monotonic()
            if after - before > _TICK + STALL_SECONDS:
                self.note("stall", before, after)
            self.flush()


class Connection(asyncio.Protocol):
    """A connection. Supports HTTP/1.1 with Content-Length and one request after the other, which is all that Chaski sends."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._buffer = b""
        self._current: tuple[float, str, dict[str, str]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hanging = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass
        self._recorder.open.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or self._current is not None:
            return
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
        headers = {name.lower(): value for name, value in fields.items()}
        length = int(headers.get("content-length", "0"))
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._begin(rest[:length].decode(), headers)

    def connection_lost(self, _: Exception | None) -> None:
        self._recorder.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._end(0 if self._hanging else -1)

    def end(self) -> None:
        """Records the request in progress, at the end of the process."""
        self._end(0 if self._hanging else -1)

    def _begin(self, token: str, headers: dict[str, str]) -> None:
        self._current = (time.monotonic(), token, headers)
        behaviour = behaviour_of(token)
        failed = self._recorder.failed[token]
        loop = asyncio.get_running_loop()
        if failed >= failures_of(behaviour):
            if seconds := wait_of(token):
                self._timer = loop.call_later(seconds, self._answer, 200)
            else:
                self._answer(200)
            return
        self._recorder.failed[token] += 1
        if behaviour[0] == "r":
            self._end(0)
            self._transport.abort()
        elif behaviour[0] == "h":
            self._hanging = True
            self._timer = loop.call_later(HANG_SECONDS, self._transport.abort)
        else:
            self._answer(status_of(behaviour))

    def _answer(self, status: int) -> None:
        self._recorder.answered += 1
        closes = self._recorder.answered % CLOSE_EVERY == 0
        extra = "Connection: close\r\n" if closes else ""
        self._transport.write(f"HTTP/1.1 {status} Any\r\nContent-Length: 0\r\n{extra}\r\n".encode())
        self._end(status)
        if closes:
            self._transport.close()

    def _end(self, status: int) -> None:
        if self._current is None:
            return
        at, token, headers = self._current
        self._current, self._timer, self._hanging = None, None, False
        names = ("chaski-attempt", "chaski-message-id", "chaski-id", "webhook-id")
        self._recorder.note(
            f"{at:.6f}", f"{time.monotonic():.6f}", token, *(headers.get(name, "") for name in names), status
        )


async def serve(file: Path) -> None:
    """Serves until SIGTERM; prints the port as the first line of standard output."""
    loop = asyncio.get_running_loop()
    recorder = Recorder(file)
    over = asyncio.Event()
    loop.add_signal_handler(15, over.set)
    server = await loop.create_server(lambda: Connection(recorder), "127.0.0.1", 0, backlog=4096)
    os.write(1, f"{server.sockets[0].getsockname()[1]}\n".encode())
    writing = asyncio.create_task(recorder.run())
    await over.wait()
    writing.cancel()
    for connection in list(recorder.open):
        connection.end()
    recorder.flush()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
