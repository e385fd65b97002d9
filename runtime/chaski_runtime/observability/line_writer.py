"""Lines to a pipe, without ever making the caller wait.

A container's standard output is a pipe that somebody else empties. When nobody does, a plain write blocks, and with
it every delivery of the process. So lines go to a thread through a bounded buffer; what does not fit is dropped, is
counted, and is told of in a line of its own once there is room again. Losing a line is bad; holding up ten thousand
messages for one is worse.
"""

import os
import threading
from collections.abc import Callable

MAX_BUFFERED_BYTES = 8 * 1024 * 1024  # about 10,000 attempts: seconds of a stalled pipe at full load
LINGER_SECONDS = 0.01  # lines wait so long for company: waking a thread and a system call cost more than a line
_CLOSE_SECONDS = 2.0


class LineWriter:
    """Writes lines to a file descriptor, in order, from a thread of its own. Safe to use from several threads."""

    def __init__(
        self,
        descriptor: int,
        *,
        tell_of_drops: Callable[[int], bytes],
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """Starts the thread.

        Args:
            descriptor: where to write; stays open at the end.
            tell_of_drops: makes the line that says how many were dropped.
            max_buffered_bytes: what may wait.
            linger_seconds: how long a line waits for others.
        """
        self.dropped = 0  # since the start
        self._descriptor = descriptor
        self._tell_of_drops = tell_of_drops
        self._room = max_buffered_bytes
        self._linger = linger_seconds
        self._lines: list[bytes] = []
        self._untold = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaski-log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Puts one line, with its newline, into the buffer, or drops it where there is no room."""
        with self._lock:
            if len(line) > self._room:
                self.dropped += 1
                self._untold += 1
                return
            self._room -= len(line)
            self._lines.append(line)
            first = len(self._lines) == 1
        if first:
            self._wake.set()

    def close(self) -> None:
        """Writes what is buffered and ends the thread; gives up after two seconds where nobody reads."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._closing.wait(self._linger)
            self._wake.clear()
            ending = self._closing.is_set()
            text, size = self._take()
            lost = not self._write_all(text)
            with self._lock:
                self._room += size
                if lost:
                    self.dropped += text.count(b"\n")
                if self._untold:
                    self._wake.set()  # there is room now to tell of what was dropped meanwhile
            if ending:
                return

    def _take(self) -> tuple[bytes, int]:
        with self._lock:
            lines, self._lines = self._lines, []
            untold, self._untold = self._untold, 0
        text = b"".join(lines)
        size = len(text)
        if untold:
            text += self._tell_of_drops(untold)
        return text, size

    def _write_all(self, text: bytes) -> bool:
        view = memoryview(text)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:  # the reader is gone: there is nobody left to tell
            return False
        return True
