"""Writes lines to a pipe without blocking the caller.

The standard output of a container is a pipe that another process reads. When that process stops reading, a plain write
blocks, and with it every delivery of this process. So a thread writes the lines from a bounded buffer; lines that do
not fit are dropped and counted, and a summary line is written once the buffer drains. Losing a line is bad; holding up
ten thousand messages for one is worse.
"""

import os
import threading
from collections.abc import Callable

MAX_BUFFERED_BYTES = 8 * 1024 * 1024  # about 10,000 attempts: seconds of a stalled pipe at full load
LINGER_SECONDS = 0.01  # lines wait this long for others: waking a thread and a system call cost more than a line
_CLOSE_SECONDS = 2.0


class LineWriter:
    """Writes lines to a file descriptor, in order, from a thread of its own. Safe to use from several threads."""

    def __init__(
        self,
        descriptor: int,
        *,
        drop_line: Callable[[int], bytes],
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """Starts the thread.

        Args:
            descriptor: where to write; stays open at the end.
            drop_line: makes the summary line of that number of dropped lines.
            max_buffered_bytes: limit of the buffer.
            linger_seconds: how long a line waits for others.
        """
        self.dropped = 0  # since the start
        self._descriptor = descriptor
        self._drop_line = drop_line
        self._free_bytes = max_buffered_bytes
        self._linger = linger_seconds
        self._lines: list[bytes] = []
        self._unreported = 0  # dropped lines without a summary line
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaski-log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Puts one line, with its newline, into the buffer, or drops it where the buffer is full."""
        with self._lock:
            if len(line) > self._free_bytes:
                self.dropped += 1
                self._unreported += 1
                return
            self._free_bytes -= len(line)
            self._lines.append(line)
            first = len(self._lines) == 1
        if first:
            self._wake.set()

    def close(self) -> None:
        """Writes the buffered lines and ends the thread; gives up after two seconds on a pipe without a reader."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._closing.wait(self._linger)
            self._wake.clear()
            closing = self._closing.is_set()
            text, size = self._take()
            lost = not self._write_all(text)
            with self._lock:
                self._free_bytes += size
                if lost:
                    self.dropped += text.count(b"\n")
                if self._unreported:
                    self._wake.set()  # the buffer has space for the summary line now
            if closing:
                return

    def _take(self) -> tuple[bytes, int]:
        with self._lock:
            lines, self._lines = self._lines, []
            unreported, self._unreported = self._unreported, 0
        text = b"".join(lines)
        size = len(text)
        if unreported:
            text += self._drop_line(unreported)
        return text, size

    def _write_all(self, text: bytes) -> bool:
        view = memoryview(text)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:  # the reader has closed the pipe, so no error can be reported either
            return False
        return True
