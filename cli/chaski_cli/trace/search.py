"""Runs `chaski trace`: by id, or by subject and text."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from chaski_cli.dead_letters.source import open_source
from chaski_cli.output import emit_json, stderr, stdout, table
from chaski_cli.trace.formats import trace_view, traces_json
from chaski_cli.trace.logs import attempt_entry, build_traces, fields_of, known_ids, open_lines, traces_from_logs
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import timestamp
from chaski_embedded.storage.reader import Trace
from chaski_replay.backends import BackendLocation, open_folder_reader
from chaski_runtime.process.command_error import CommandError, ExitCode

MAX_MESSAGES = 1_000  # a subject may have any number
_CONTENT = "http.request.body.content"
_COLUMNS = ("message", "id", "subject", "state", "attempts", "last attempt", "outcome")


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


def run_trace(location: BackendLocation, logs: str | None, message_id: str, *, as_json: bool) -> ExitCode:
    """Shows every attempt of the messages of an identity or label, replays included."""
    if location.route is not None or logs is not None:
        found: Sequence[Trace] = traces_from_logs(location, logs, message_id)
        searched = (
            "--route and --logs" if logs is not None else "the table (attempts of other messages are in logs only)"
        )
        hint = "check the id in ingest's response, and give the workers' log: --logs FILE, or - for standard input"
    else:
        with open_folder_reader(location.data) as reader:
            found = reader.traces(message_id)
        searched = str(location.data)
        hint = "check the id in ingest's response, and --data against that of `chaski dev`"
    if not found:
        raise CommandError(f"message {message_id} not found in {searched}", next_step=hint)
    if as_json:
        emit_json(traces_json(found))
        return ExitCode.OK
    for position, trace in enumerate(found):
        if position:
            stdout().print()
        stdout().print(trace_view(trace))
    return ExitCode.OK


def run_search(location: BackendLocation, logs: str | None, query: MessageQuery, *, as_json: bool) -> ExitCode:
    """Shows the matching messages: the trace of a single one, a list of several."""
    on_aws = location.route is not None or logs is not None
    found = list(islice(_on_aws(location, logs, query) if on_aws else _in_folder(location, query), MAX_MESSAGES + 1))
    if not found:
        raise CommandError("no message found", next_step=_hint(on_aws=on_aws, logs=logs, query=query))
    if len(found) > MAX_MESSAGES:
        stderr().print(f"more than {MAX_MESSAGES} messages match; these are some of them", style="yellow")
    found = found[:MAX_MESSAGES]
    if as_json:
        emit_json(traces_json(found))
    elif len(found) == 1:
        stdout().print(trace_view(found[0]))
    else:
        stdout().print(table(_COLUMNS, map(_row, found), right=("attempts",)))
    return ExitCode.OK


def _in_folder(location: BackendLocation, query: MessageQuery) -> Iterator[Trace]:
    with open_folder_reader(location.data) as reader:
        yield from reader.read_traces(islice(reader.search(query.subject, query.text), 2 * MAX_MESSAGES))


def _on_aws(location: BackendLocation, logs: str | None, query: MessageQuery) -> Iterator[Trace]:
    dead_letters: list[DeadLetter] = []
    if location.route is not None:
        with open_source(location) as source:
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


def _hint(*, on_aws: bool, logs: str | None, query: MessageQuery) -> str:
    if not on_aws:
        return "check --data against that of `chaski dev`; the content of delivered messages is not kept"
    if logs is None:
        return "the table holds dead letters only: also give the workers' log, --logs FILE, or - for standard input"
    if query.text is not None:
        return "log lines have contents only if CHASKI_LOG_CONTENT_CHARS is set for the workers"
    return "check the subject, and that the logs of all workers are given"


def _row(trace: Trace) -> tuple[object, ...]:
    last = trace.attempts[-1] if trace.attempts else None
    at, outcome = ("-", "-") if last is None else (timestamp(last.at), last.detail or last.outcome)
    return trace.message_id, trace.id, trace.subject, trace.state.value, len(trace.attempts), at, outcome
