"""A message's trace on AWS: from the workers' JSON log lines, and from the dead letters of its route.

Nothing else is stored for each delivery there, so without logs only what failed for good is known.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from chaski_cli.errors import wrong_input
from chaski_cli.opened import Where
from chaski_cli.sources import open_source
from chaski_core.deadletter import DeadLetter
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import milliseconds
from chaski_embedded.reader import State, Trace


def trace_from_logs(where: Where, logs: str | None, message_id: str) -> Trace | None:
    """What logs and dead letters say of a message; None where they say nothing.

    Args:
        where: the resolved route; without one only logs are read.
        logs: a file of JSON lines, `-` for standard input, or None.
        message_id: the producer's.
    """
    entries: list[AttemptEntry] = []
    if logs is not None:
        with opened_lines("--logs", logs) as lines:
            entries = read_attempts(lines, message_id)
    letters: Sequence[DeadLetter] = ()
    if where.route is not None:
        with open_source(where) as source:
            letters = source.get(message_id)
    return merged(message_id, entries, letters)


def read_attempts(lines: Iterable[bytes], message_id: str) -> list[AttemptEntry]:
    """The attempts of a message among log lines, oldest first. Lines of others, and what is no JSON, are passed over."""
    wanted = message_id.encode()
    entries = (
        attempt_entry(fields)
        for fields in map(fields_of, (line for line in lines if wanted in line))
        if fields.get("chaski.message.id") == message_id
    )
    return sorted((each for each in entries if each is not None), key=lambda entry: (entry.at, entry.number))


def fields_of(line: bytes) -> dict[str, Any]:
    """The fields of a log line; none where it is no JSON object."""
    try:
        fields = orjson.loads(line[line.find(b"{") :])  # collectors like to put a time before
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def merged(message_id: str, entries: Sequence[AttemptEntry], letters: Sequence[DeadLetter]) -> Trace | None:
    """One trace. Attempts that a dead letter tells of and no log line does are added from it."""
    told = list(entries)
    for letter in letters:
        told += _untold(letter, told)
    told.sort(key=lambda entry: (entry.at, entry.number))
    delivered_at = max((entry.at for entry in entries if entry.outcome == "delivered"), default=None)
    if letters and (delivered_at is None or delivered_at < letters[-1].dead_lettered_at):
        again = letters[-1].replay is not None and not any(each.at > letters[-1].replay.at for each in told)
        state = State.PENDING if again else State.DEAD_LETTERED
        return Trace(message_id, letters[-1].subject, state, tuple(told))
    if delivered_at is not None:
        return Trace(message_id, entries[-1].subject, State.DELIVERED, tuple(told))
    return Trace(message_id, told[-1].subject, State.PENDING, tuple(told)) if told else None


def _untold(letter: DeadLetter, told: Sequence[AttemptEntry]) -> list[AttemptEntry]:
    known = {entry.number for entry in told if entry.at <= letter.dead_lettered_at + 1}
    first = letter.attempts - len(letter.errors) + 1  # of very many the oldest may have been cut
    return [
        AttemptEntry(
            message_id=letter.id,
            subject=letter.subject,
            route=letter.route,
            number=first + index,
            at=note.at,
            stage="first" if first + index == 1 else "retry",
            outcome="refused" if note.key == "refused" else "failed",
            error_class=note.key,
            status=int(note.key) if note.key.isdecimal() else None,
            duration_ms=0.0,
            detail=note.detail,
        )
        for index, note in enumerate(letter.errors)
        if first + index not in known
    ]


def attempt_entry(fields: dict[str, Any]) -> AttemptEntry | None:
    """The attempt that a line tells of, if it does."""
    number, at = fields.get("chaski.attempt.number"), milliseconds(fields.get("@timestamp"))
    if not isinstance(number, int) or at is None:
        return None
    duration = float(fields.get("event.duration", 0)) / 1e6
    return AttemptEntry(
        message_id=str(fields["chaski.message.id"]),
        subject=str(fields.get("chaski.subject", "")),
        route=f"{fields.get('labels.namespace', '')}/{fields.get('labels.route', '')}",
        number=number,
        at=round(at - duration),
        stage=str(fields.get("chaski.attempt.stage", "")),
        outcome=str(fields.get("chaski.attempt.outcome", "")),
        error_class=str(fields.get("error.type", "")),
        status=fields.get("http.response.status_code"),
        duration_ms=duration,
        detail=str(fields.get("error.message", "")),
    )


@contextlib.contextmanager
def opened_lines(option: str, name: str) -> Iterator[Iterable[bytes]]:
    """The lines of a file, or of standard input where its name is `-`. CommandError, naming the option: it can't be read."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only opening is judged here
    except OSError as error:
        raise wrong_input(f"{option} {name}: {error.strerror}", "name a file of lines, or -") from error
    with stream:
        yield stream
