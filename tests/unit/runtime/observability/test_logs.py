import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from chaski_runtime.observability.logs import Format, configure, record_fields


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file to log to; restores Python's logging afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    opened = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def written(descriptor: int) -> list[bytes]:
    """The lines of the file."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 1 << 20).splitlines()


def test_records_of_pythons_logging_are_written_to_the_same_place(descriptor: int) -> None:
    """Warnings too, and texts that UTF-8 can't encode."""
    logs = configure("json", "info", descriptor=descriptor)
    logging.getLogger("some.library").info("hello %s", "you")
    logging.getLogger("some.library").debug("not this")
    logging.getLogger("some.library").error("broken \ud800")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    logs.close()
    messages = [orjson.loads(line)["message"] for line in written(descriptor)]
    assert messages[:2] == ["hello you", "broken \\ud800"]
    assert "careful" in messages[2]


def test_an_unknown_level_is_refused() -> None:
    """The error lists the levels."""
    with pytest.raises(ValueError, match=r'"loud" .* debug, info, warning or error'):
        configure("json", "loud")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_message_can_break_a_line_in_two(descriptor: int, format_: Format) -> None:
    """Error texts of targets may contain control characters."""
    logs = configure(format_, "info", descriptor=descriptor)
    logging.getLogger("x").warning("a\nb\r\x1b[31mred\x00")
    logs.close()
    (line,) = written(descriptor)
    assert b"\x1b" not in line
    assert b"\x00" not in line


def test_the_console_format_shows_level_and_message(descriptor: int) -> None:
    """After the time of the day."""
    logs = configure("console", "info", descriptor=descriptor)
    logging.getLogger("x").info("ready")
    logs.close()
    (line,) = written(descriptor)
    assert line[12:] == b" INFO  ready"


def test_a_record_has_its_message_its_logger_and_its_own_fields() -> None:
    """`extra={"ecs": …}` adds fields."""
    record = logging.LogRecord("chaski.x", logging.WARNING, "f", 1, "%d apples", (3,), None)
    record.ecs = {"event.action": "count"}
    fields = record_fields(record)
    assert fields["message"] == "3 apples"
    assert (fields["log.level"], fields["log.logger"], fields["event.action"]) == ("warn", "chaski.x", "count")


def test_a_record_with_an_exception_has_its_type_message_and_stack_trace() -> None:
    """In the three ECS fields `error.*`."""
    try:
        os.environ["CHASKI_GONE"]
    except KeyError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oops", (), sys.exc_info())
    fields = record_fields(record)
    assert (fields["error.type"], fields["error.message"]) == ("KeyError", "'CHASKI_GONE'")
    assert fields["error.stack_trace"].startswith("Traceback")
