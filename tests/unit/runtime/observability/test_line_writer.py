import os
import re
import time
from collections.abc import Callable

import pytest

from chaski_runtime.observability.line_writer import LineWriter


def drop_line(dropped: int) -> bytes:
    """The summary line."""
    return b"dropped %d\n" % dropped


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def drain(descriptor: int, least: int) -> bytes:
    """Reads at least `least` bytes."""
    text = b""
    while len(text) < least:
        text += os.read(descriptor, 1 << 20)
    return text


def test_lines_are_written_in_order_and_closing_writes_the_rest() -> None:
    """Nothing is lost at a normal end."""
    reading, writing = os.pipe()
    writer = LineWriter(writing, drop_line=drop_line, linger_seconds=60)
    lines = [b"%d\n" % n for n in range(1_000)]
    for line in lines:
        writer.write(line)
    writer.close()
    os.close(writing)
    assert drain(reading, len(b"".join(lines))) == b"".join(lines)
    assert writer.dropped == 0
    os.close(reading)


@pytest.mark.promise(12)
def test_a_pipe_without_a_reader_never_blocks_and_dropped_lines_are_counted_and_reported() -> None:
    """Once it is read again, a line reports the number of dropped lines."""
    reading, writing = os.pipe()
    writer = LineWriter(writing, drop_line=drop_line, max_buffered_bytes=100_000, linger_seconds=0.001)
    line = b"x" * 999 + b"\n"
    began = time.monotonic()
    for _ in range(1_000):
        writer.write(line)
    assert time.monotonic() - began < 5
    dropped = writer.dropped
    assert 0 < dropped < 1_000
    text = b""
    while text.count(line) < 1_000 - dropped or sum(map(int, re.findall(rb"dropped (\d+)\n", text))) < dropped:
        text += os.read(reading, 1 << 20)
    assert text.count(b"\n") == 1_000 - dropped + text.count(b"dropped")
    until(lambda: writer._free_bytes == 100_000)  # the writer may not have released the written lines yet
    writer.write(b"after\n")
    assert drain(reading, 6) == b"after\n"
    assert writer.dropped == dropped
    writer.close()
    os.close(writing)
    os.close(reading)


def test_a_closed_pipe_is_not_an_error_and_its_lines_are_counted() -> None:
    """The process goes on without its log."""
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing, drop_line=drop_line, linger_seconds=0.001)
    writer.write(b"one\n")
    writer.write(b"two\n")
    until(lambda: writer.dropped == 2)
    writer.close()
    os.close(writing)


def test_closing_gives_up_on_a_pipe_without_a_reader() -> None:
    """A process must be able to exit."""
    reading, writing = os.pipe()
    writer = LineWriter(writing, drop_line=drop_line, linger_seconds=0.001)
    for _ in range(200):
        writer.write(b"x" * 1_000)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5
    drain(reading, 200_000)
    until(lambda: not writer._thread.is_alive())
    os.close(reading)
    os.close(writing)
