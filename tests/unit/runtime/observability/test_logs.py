import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from chaski_runtime.observability.logs import Format, configure
from unit.runtime.observability.test_log_fields import DELIVERED, FAILED


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file to log to; Python's own logging is as before afterwards."""
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


@pytest.mark.promise(13)
def test_an_attempt_is_one_json_line_that_names_the_service(descriptor: int) -> None:
    """With a time of its own."""
    logs = configure("json", "info", service="chaski-worker", descriptor=descriptor)
    logs.attempt(DELIVERED)
    logs.attempt(FAILED)
    logs.close()
    lines = [orjson.loads(line) for line in written(descriptor)]
    assert [line["chaski.message.id"] for line in lines] == ["id-1", "id-1"]
    assert {line["service.name"] for line in lines} == {"chaski-worker"}
    assert all(line["@timestamp"] > "2026" for line in lines)


def test_what_comes_by_pythons_logging_goes_the_same_way(descriptor: int) -> None:
    """Warnings too, and texts that UTF-8 can't carry."""
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


def test_a_level_above_info_leaves_delivered_attempts_out(descriptor: int) -> None:
    """Failed ones are warnings."""
    logs = configure("json", "warning", descriptor=descriptor)
    logs.attempt(DELIVERED)
    logs.attempt(FAILED)
    logs.close()
    assert len(written(descriptor)) == 1


def test_a_level_that_does_not_exist_is_refused_by_name() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match='"loud" is no log level; there are debug, info, warning, error'):
        configure("json", "loud")


def test_the_console_format_reads_like_a_sentence(descriptor: int) -> None:
    """Time, level, subject, target, what happened."""
    logs = configure("console", "info", descriptor=descriptor)
    logs.attempt(FAILED)
    logging.getLogger("x").info("ready")
    logs.close()
    attempt, ready = (line.decode() for line in written(descriptor))
    assert "WARN  pc_send_88_519 -> helpdesk: failed with 503" in attempt
    assert attempt.endswith("(attempt 3, 1000 ms, id id-1)")
    assert ready.endswith("INFO  ready")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_subject_can_break_a_line_in_two(descriptor: int, format_: Format) -> None:
    """A producer chooses subjects; a log line is one line whatever is in them."""
    logs = configure(format_, "info", descriptor=descriptor)
    logs.attempt(replace(DELIVERED, subject="a\nb\r\x1b[31mred\x00"))
    logs.close()
    (line,) = written(descriptor)
    assert b"\x1b" not in line
    assert b"\x00" not in line
