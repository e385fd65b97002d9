"""The log of a process: one line for each event, as JSON in Elastic Common Schema names or as text for people.

Keys are dotted and flat, as ECS writes them: Elasticsearch reads both forms alike, and `grep` and `jq` read this one
better.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, Literal

import orjson

from chaski_core import __version__
from chaski_core.timestamps import timestamp
from chaski_runtime.observability.line_writer import LineWriter

ECS_VERSION = "8.17.0"
LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "fatal",
}
# A producer chooses subjects, and a target its error texts: neither may forge a line or control a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}

Format = Literal["json", "console"]


class CommonFields:
    """Fields that many lines share, written as JSON only once. Don't change them."""

    __slots__ = ("fields", "json")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        #: After a comma and without braces; None where UTF-8 can't represent a text.
        self.json: bytes | None
        try:
            self.json = b"," + orjson.dumps(fields)[1:-1] if fields else b""
        except orjson.JSONEncodeError:
            self.json = None


NO_COMMON_FIELDS = CommonFields({})
Render = Callable[[dict[str, Any], CommonFields], bytes]  # a line's own fields, its others -> line, newline included


class Logs:
    """Writes lines without ever blocking on the reader of the log."""

    def __init__(self, writer: LineWriter, render: Render, level: int) -> None:
        """Logs everything at or above `level`, as `logging` counts."""
        self.render = render
        self._writer = writer
        self._level = level
        self._handler: logging.Handler | None = None

    @property
    def dropped(self) -> int:
        """Lines dropped since the start, because the log's reader was too slow."""
        return self._writer.dropped

    def is_enabled(self, level: int) -> bool:
        """Whether lines of that level are logged."""
        return level >= self._level

    def write(self, line: bytes) -> None:
        """Writes a rendered line, newline included."""
        self._writer.write(line)

    def take_over_logging(self) -> None:
        """Sends the records of Python's `logging` to the same place."""
        handler = _Handler(self._writer, self.render)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(self._level)
        logging.captureWarnings(capture=True)
        self._handler = handler

    def close(self) -> None:
        """Writes the buffered lines; nothing is logged afterwards."""
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
        ValueError: the level does not exist.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f'"{level}" is not a log level; use debug, info, warning or error')
    out = sys.stdout.fileno() if descriptor is None else descriptor
    render = json_renderer(service) if format == "json" else console_renderer(colour=os.isatty(out))
    writer = LineWriter(out, drop_line=lambda dropped: render(_drop_fields(dropped), NO_COMMON_FIELDS))
    logs = Logs(writer, render, number)
    logs.take_over_logging()
    return logs


def json_renderer(service: str) -> Render:
    """Lines of JSON that name the service."""
    fixed = {"service.name": service, "service.version": __version__}
    end = b"," + orjson.dumps(fixed, option=orjson.OPT_APPEND_NEWLINE)[1:]

    def render(fields: dict[str, Any], common: CommonFields) -> bytes:
        try:
            if common.json is not None:
                return b"".join((orjson.dumps(fields)[:-1], common.json, end))
        except orjson.JSONEncodeError:  # an unusual value in an event's own fields; a lone surrogate in a text
            pass
        every = {**fields, **common.fields, **fixed}
        safe = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in every.items()}
        return orjson.dumps(safe, option=orjson.OPT_APPEND_NEWLINE)

    return render


def console_renderer(*, colour: bool) -> Render:
    """Lines for people: time, level, event, message."""
    marks = {"warn": "\x1b[33m", "error": "\x1b[31m", "fatal": "\x1b[31m", "debug": "\x1b[2m"} if colour else {}

    def render(fields: dict[str, Any], common: CommonFields) -> bytes:
        fields = {**common.fields, **fields}
        level = fields["log.level"]
        mark = marks.get(level, "")
        event = _event_text(fields).translate(_CONTROLS)
        text = f"{fields['@timestamp'][11:23]} {mark}{level.upper():<5}{mark and chr(27) + '[0m'} {event}"
        if "error.stack_trace" in fields:
            text += "\n" + "\n".join(line.translate(_CONTROLS) for line in fields["error.stack_trace"].splitlines())
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return render


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record of Python's `logging`; `extra={"ecs": {...}}` adds to them."""
    fields: dict[str, Any] = {
        "@timestamp": timestamp(int(record.created * 1000)),
        "log.level": LEVELS.get(record.levelno, record.levelname.lower()),
        "message": record.getMessage(),
        "ecs.version": ECS_VERSION,
        "log.logger": record.name,
    }
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, trace = record.exc_info
        fields["error.type"] = kind.__name__
        fields["error.message"] = str(error)
        fields["error.stack_trace"] = "".join(traceback.format_exception(kind, error, trace))
    fields.update(getattr(record, "ecs", {}))
    return fields


def _event_text(fields: dict[str, Any]) -> str:
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
        "%d log lines were dropped: the log's reader was too slow",
        (dropped,),
        None,
    )
    return record_fields(record) | {"event.action": "log-drop", "chaski.log.dropped": dropped}


class _Handler(logging.Handler):
    def __init__(self, writer: LineWriter, render: Render) -> None:
        super().__init__()
        self._writer = writer
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self._render(record_fields(record), NO_COMMON_FIELDS))
        except Exception:  # noqa: BLE001 - a line that can't be made must not stop the work that it describes
            self.handleError(record)
