"""Runs `chaski trace`: by id, or by subject and text."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from chaski_cli.dead_letters.source import open_source
from chaski_cli.output import emit_result, stderr, stdout
from chaski_cli.trace.formats import trace_view, traces_json, traces_table
from chaski_cli.trace.logs import attempt_entry, build_traces, fields_of, known_ids, open_lines, traces_from_logs
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry
from chaski_embedded.storage.reader import Reader, Trace
from chaski_replay.backends import BackendLocation, folder_routes, open_folder_reader
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, ExitCode

MAX_MESSAGES = 1_000  # a subject may have any number
_CONTENT = "http.request.body.content"


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """Selects messages; None matches every message."""

    subject: str | None = None
    text: str | None = None  # anywhere in the message, case-insensitive

    def matches(self, fields: dict[str, Any]) -> bool:
        """Whether a log line is of a matching message; by text only if the line has the content."""
        if self.subject is not None and fields.get("chaski.subject") != self.subject:
            return False
        return self.text is None or self.text.casefold() in str(fields.get(_CONTENT, "")).casefold()


def run_trace(location: BackendLocation, logs: str | None, message_id: str, output: str) -> ExitCode:
    """Shows every attempt of the messages of an identity or label, replays included. `output`: table, wide or json."""
    found = traces_of(location, logs, message_id)
    if output == "json":
        emit_result(traces_json(found))
        return ExitCode.OK
    for position, trace in enumerate(found):
        if position:
            stdout().print()
        stdout().print(trace_view(trace, wide=output == "wide"))
    return ExitCode.OK


def traces_of(location: BackendLocation, logs: str | None, message_id: str) -> Sequence[Trace]:
    """The traces of an identity or label, oldest first.

    Raises:
        CommandError: there are none.
    """
    if _from_logs(location, logs):
        found: Sequence[Trace] = traces_from_logs(location, logs, message_id)
        searched = "the logs" if logs is not None else "the table (attempts of other messages are in logs only)"
        hint = "check the id in ingest's response, and give the workers' log: --logs FILE, or - for standard input"
    else:
        with _open_folder(location) as reader:
            found = reader.traces(message_id)
        searched = location.name
        hint = "check the id in ingest's response, and --data against that of `chaski dev`"
    found = [each for each in found if _is_wanted(each, location)]
    if not found:
        raise CommandError(f"message {message_id} not found in {searched}", next_step=hint)
    return found


def run_search(location: BackendLocation, logs: str | None, query: MessageQuery, output: str) -> ExitCode:
    """Shows the matching messages: the trace of a single one; a list of several, newest first."""
    from_logs = _from_logs(location, logs)
    traces = _in_logs(location, logs, query) if from_logs else _in_folder(location, query)
    found = list(islice((each for each in traces if _is_wanted(each, location)), MAX_MESSAGES + 1))
    if not found:
        raise CommandError("no message found", next_step=_hint(from_logs=from_logs, logs=logs, query=query))
    if len(found) > MAX_MESSAGES:
        stderr().print(f"more than {MAX_MESSAGES} messages match; these are some of them", style="yellow")
    found = found[:MAX_MESSAGES][::-1]
    if output == "json":
        emit_result(traces_json(found))
    elif len(found) == 1:
        stdout().print(trace_view(found[0], wide=output == "wide"))
    else:
        stdout().print(traces_table(found, SystemClock().now_ms(), wide=output == "wide"))
    return ExitCode.OK


def _from_logs(location: BackendLocation, logs: str | None) -> bool:
    return location.on_aws or logs is not None


def _is_wanted(trace: Trace, location: BackendLocation) -> bool:
    return location.route in (None, trace.route)


@contextmanager
def _open_folder(location: BackendLocation) -> Iterator[Reader]:
    with open_folder_reader(location.data) as reader:
        location.check_route(folder_routes(location.data))
        yield reader


def _in_folder(location: BackendLocation, query: MessageQuery) -> Iterator[Trace]:
    with _open_folder(location) as reader:
        yield from reader.read_traces(islice(reader.search(query.subject, query.text), 2 * MAX_MESSAGES))


def _in_logs(location: BackendLocation, logs: str | None, query: MessageQuery) -> Iterator[Trace]:
    dead_letters: list[DeadLetter] = []
    if location.on_aws:
        with open_source(location) as (source, _):
            wanted = DeadLetterFilter(subject=query.subject, text=query.text)
            dead_letters = list(islice(source.find(wanted), 2 * MAX_MESSAGES))
    with nullcontext(()) if logs is None else open_lines("--logs", logs) as lines:
        entries = found_in_logs(lines, query, known_ids(dead_letters))
    yield from build_traces(chain.from_iterable(entries.values()), dead_letters)


def found_in_logs(lines: Iterable[bytes], query: MessageQuery, also: Iterable[str]) -> dict[str, list[AttemptEntry]]:
    """Attempts by identity, of matching messages and those in `also`. Their number is limited."""
    ids, found = set(also), dict[str, list[AttemptEntry]]()
    for line in lines:
        if b'"chaski.message.id"' not in line:
            continue
        fields = fields_of(line)
        message_id = str(fields.get("chaski.message.id", ""))
        if (message_id in ids or query.matches(fields)) and (entry := attempt_entry(fields)) is not None:
            if message_id not in found and len(found) > 2 * MAX_MESSAGES:
                continue
            found.setdefault(message_id, []).append(entry)
    return {message_id: sorted(each, key=lambda entry: (entry.at, entry.number)) for message_id, each in found.items()}


def _hint(*, from_logs: bool, logs: str | None, query: MessageQuery) -> str:
    if not from_logs:
        return "check --data against that of `chaski dev`; the content of delivered messages is not kept"
    if logs is None:
        return "the table holds dead letters only: also give the workers' log, --logs FILE, or - for standard input"
    if query.text is not None:
        return "log lines have contents only if CHASKI_LOG_CONTENT_CHARS is set for the workers"
    return "check the subject, and that the logs of all workers are given"
