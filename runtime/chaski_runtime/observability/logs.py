"""The process's log: one JSON line per attempt and per event, or lines for people."""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import orjson

from chaski_core import __version__
from chaski_runtime.observability.attempt_log import DeliveredLines, Render
from chaski_runtime.observability.line_writer import LineWriter
from chaski_runtime.observability.log_fields import Attempt, attempt_fields, record_fields

__all__ = ["Attempt", "Format", "Logs", "configure"]

# A producer chooses subjects, and a target its error texts: neither may forge a line or steer a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}

Format = Literal["json", "console"]


class Logs:
    """Where attempts are logged. Takes about 10 µs a line, and never waits for whoever reads the log."""

    def __init__(self, writer: LineWriter, render: Render, level: int, delivered: DeliveredLines | None = None) -> None:
        """Writes what is at or above a level.

        Args:
            writer: where the lines go.
            render: makes a line, newline included, of its fields.
            level: as `logging` counts.
            delivered: makes the same lines of delivered attempts.
        """
        self._delivered = delivered
        self._writer = writer
        self._render = render
        self._level = level
        self._handler: logging.Handler | None = None

    @property
    def dropped(self) -> int:
        """Lines dropped since the start, because nobody read them."""
        return self._writer.dropped

    def attempt(self, attempt: Attempt) -> None:
        """Logs one attempt that has just ended."""
        if attempt.level >= self._level:
            self._writer.write(self._line(attempt, time.time_ns() // 1_000_000))

    def _line(self, attempt: Attempt, now_ms: int) -> bytes:
        try:
            line = self._delivered.line(attempt, now_ms) if self._delivered is not None else None
        except orjson.JSONEncodeError:  # a lone surrogate, which `render` knows how to show
            line = None
        return self._render(attempt_fields(attempt, now_ms)) if line is None else line

    def take_over_logging(self) -> None:
        """Sends all that comes by Python's `logging` to the same place."""
        handler = _Handler(self._writer, self._render)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(self._level)
        logging.captureWarnings(capture=True)
        self._handler = handler

    def close(self) -> None:
        """Writes what is buffered; nothing is logged after it."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        self._writer.close()


def configure(
    format: Format = "json",  # noqa: A002 - the option's name
    level: str = "info",
    *,
    service: str = "chaski",
    descriptor: int | None = None,
) -> Logs:
    """Sets the process's log up, Python's `logging` included. Call `close` at the end.

    Args:
        format: `json` for machines, `console` for people.
        level: debug, info, warning or error.
        service: `service.name` of every line: the process's role.
        descriptor: where to write; standard output if not given.

    Raises:
        ValueError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f'"{level}" is no log level; there are debug, info, warning, error')
    out = sys.stdout.fileno() if descriptor is None else descriptor
    render = json_renderer(service) if format == "json" else console_renderer(colour=os.isatty(out))
    writer = LineWriter(out, tell_of_drops=lambda dropped: render(_drop_fields(dropped)))
    logs = Logs(writer, render, number, DeliveredLines(render) if format == "json" else None)
    logs.take_over_logging()
    return logs


def json_renderer(service: str) -> Callable[[dict[str, Any]], bytes]:
    """Lines of JSON that name the service."""
    fixed = {"service.name": service, "service.version": __version__}

    def render(fields: dict[str, Any]) -> bytes:
        fields |= fixed
        try:
            return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:  # something unusual in an event's own fields; lone surrogates in a text
            safe = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in fields.items()}
            return orjson.dumps(safe, option=orjson.OPT_APPEND_NEWLINE)

    return render


def console_renderer(*, colour: bool) -> Callable[[dict[str, Any]], bytes]:
    """Lines for people: time, level, what happened, to which message."""
    marks = {"warn": "\x1b[33m", "error": "\x1b[31m", "fatal": "\x1b[31m", "debug": "\x1b[2m"} if colour else {}

    def render(fields: dict[str, Any]) -> bytes:
        level = fields["log.level"]
        mark = marks.get(level, "")
        told = _told(fields).translate(_CONTROLS)
        text = f"{fields['@timestamp'][11:23]} {mark}{level.upper():<5}{mark and chr(27) + '[0m'} {told}"
        if "error.stack_trace" in fields:
            text += "\n" + "\n".join(line.translate(_CONTROLS) for line in fields["error.stack_trace"].splitlines())
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return render


def _told(fields: dict[str, Any]) -> str:
    if fields.get("event.action") != "delivery":
        return f"{fields['message']}"
    return (
        f"{fields['chaski.subject']} -> {fields['labels.target']}: {fields['message']}"
        f" (attempt {fields['chaski.attempt.number']}, {fields['event.duration'] / 1e6:.0f} ms,"
        f" id {fields['chaski.message.id']})"
    )


def _drop_fields(dropped: int) -> dict[str, Any]:
    record = logging.LogRecord(
        __name__,
        logging.WARNING,
        __file__,
        0,
        "%d log lines were dropped: nobody read the log fast enough",
        (dropped,),
        None,
    )
    return record_fields(record) | {"event.action": "log-drop", "chaski.log.dropped": dropped}


class _Handler(logging.Handler):
    def __init__(self, writer: LineWriter, render: Callable[[dict[str, Any]], bytes]) -> None:
        super().__init__()
        self._writer = writer
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self._render(record_fields(record)))
        except Exception:  # noqa: BLE001 - a line that can't be made must not stop the work that it tells of
            self.handleError(record)
