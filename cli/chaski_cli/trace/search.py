"""`chaski trace --subject` and `--text`: messages that are found by something else than their id, each with its trace."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from chaski_cli.backends import BackendLocation, open_folder_reader
from chaski_cli.errors import CommandError, Exit
from chaski_cli.output import emit_json, stderr, stdout, table
from chaski_cli.sources import open_source
from chaski_cli.trace.command import trace_view, traces_json
from chaski_cli.trace.logs import attempt_entry, fields_of, known_ids, opened_lines, traces
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import timestamp
from chaski_embedded.storage.reader import Trace

MOST = 1_000  # messages; a subject may have any number
_CONTENT = "http.request.body.content"
_COLUMNS = ("message", "id", "subject", "state", "attempts", "last attempt", "what happened")


@dataclass(frozen=True, slots=True)
class Sought:
    """What is known of the messages."""

    subject: str | None = None
    text: str | None = None  # in the message, in any case

    def in_line(self, fields: dict[str, Any]) -> bool:
        """Whether a log line is of such a message; by its content only where lines hold it."""
        if self.subject is not None and fields.get("chaski.subject") != self.subject:
            return False
        return self.text is None or self.text.casefold() in str(fields.get(_CONTENT, "")).casefold()


def run_search(where: BackendLocation, logs: str | None, sought: Sought, *, as_json: bool) -> Exit:
    """Shows every message that is found: its trace where there is one, a list where there are several."""
    on_aws = where.route is not None or logs is not None
    found = list(islice(_on_aws(where, logs, sought) if on_aws else _in_folder(where, sought), MOST + 1))
    if not found:
        raise CommandError("no such message is known", next_step=_hint(on_aws=on_aws, logs=logs, sought=sought))
    if len(found) > MOST:
        stderr().print(f"there are more than {MOST} messages; these are some of them", style="yellow")
    found = found[:MOST]
    if as_json:
        emit_json(traces_json(found))
    elif len(found) == 1:
        stdout().print(trace_view(found[0]))
    else:
        stdout().print(table(_COLUMNS, map(_row, found), right=("attempts",)))
    return Exit.OK


def _in_folder(where: BackendLocation, sought: Sought) -> Iterator[Trace]:
    with open_folder_reader(where.data) as reader:
        yield from reader.described(islice(reader.search(sought.subject, sought.text), 2 * MOST))


def _on_aws(where: BackendLocation, logs: str | None, sought: Sought) -> Iterator[Trace]:
    letters: list[DeadLetter] = []
    if where.route is not None:
        with open_source(where) as source:
            wanted = DeadLetterFilter(subject=sought.subject, text=sought.text)
            letters = list(islice(source.find(wanted), 2 * MOST))
    with nullcontext(()) if logs is None else opened_lines("--logs", logs) as lines:
        entries = found_in_logs(lines, sought, known_ids(letters))
    yield from traces(chain.from_iterable(entries.values()), letters)


def found_in_logs(lines: Iterable[bytes], sought: Sought, also: Iterable[str]) -> dict[str, list[AttemptEntry]]:
    """Attempts by identity: of messages that are sought, and of those that were found elsewhere. Bounded."""
    ids, found = set(also), dict[str, list[AttemptEntry]]()
    for line in lines:
        if b'"chaski.message.id"' not in line:
            continue
        fields = fields_of(line)
        message_id = str(fields.get("chaski.message.id", ""))
        if (message_id in ids or sought.in_line(fields)) and (entry := attempt_entry(fields)) is not None:
            if message_id not in found and len(found) > 2 * MOST:
                continue
            found.setdefault(message_id, []).append(entry)
    return {message_id: sorted(each, key=lambda entry: (entry.at, entry.number)) for message_id, each in found.items()}


def _hint(*, on_aws: bool, logs: str | None, sought: Sought) -> str:
    if not on_aws:
        return "check --data against that of `chaski dev`; the content of what was delivered is not kept"
    if logs is None:
        return (
            "the table has what was given up only: give the workers' log as well, --logs FILE, or - for standard input"
        )
    if sought.text is not None:
        return "log lines hold contents only where workers have CHASKI_LOG_CONTENT_CHARS"
    return "check the subject, and that the log is that of all workers"


def _row(trace: Trace) -> tuple[object, ...]:
    last = trace.attempts[-1] if trace.attempts else None
    at, told = ("-", "-") if last is None else (timestamp(last.at), last.detail or last.outcome)
    return trace.message_id, trace.id, trace.subject, trace.state.value, len(trace.attempts), at, told
