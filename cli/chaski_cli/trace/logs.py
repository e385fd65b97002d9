"""Traces on AWS: from the workers' JSON log lines, and from the dead letters of the route.

Deliveries are not stored anywhere else, so without logs only dead letters can be traced.
"""

import contextlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import orjson

from chaski_cli.dead_letters.source import open_source
from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import milliseconds
from chaski_embedded.storage.reader import State, Trace
from chaski_embedded.storage.traces import end_of
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import wrong_input


def traces_from_logs(location: BackendLocation, logs: str | None, message_id: str) -> list[Trace]:
    """The traces of an identity or label by logs and dead letters, oldest first.

    Args:
        location: the route on AWS; of a data folder only logs are read.
        logs: a file of JSON lines, `-` for standard input, or None.
        message_id: an identity, or the producer's id.
    """
    dead_letters: Sequence[DeadLetter] = ()
    if location.on_aws:
        with open_source(location) as (source, _):
            dead_letters = source.get(message_id)
    entries: list[AttemptEntry] = []
    if logs is not None:
        with open_lines("--logs", logs) as lines:
            entries = read_attempts(lines, {message_id, *known_ids(dead_letters)})
    return build_traces(entries, dead_letters)


def known_ids(dead_letters: Iterable[DeadLetter]) -> set[str]:
    """Identities of dead letters and of their replays."""
    found = set()
    for dead_letter in dead_letters:
        found.add(dead_letter.message_id)
        if dead_letter.replay is not None and dead_letter.replay.message_id:
            found.add(dead_letter.replay.message_id)
    return found


def read_attempts(lines: Iterable[bytes], wanted: AbstractSet[str]) -> list[AttemptEntry]:
    """The attempts of identities or labels, oldest first. Other lines are skipped, whether JSON or not."""
    texts = [each.encode() for each in wanted]
    found = (fields_of(line) for line in lines if any(text in line for text in texts))
    entries = (
        attempt_entry(fields)
        for fields in found
        if fields.get("chaski.message.id") in wanted or fields.get("chaski.id") in wanted
    )
    return sorted((each for each in entries if each is not None), key=lambda entry: (entry.at, entry.number))


def build_traces(entries: Iterable[AttemptEntry], dead_letters: Iterable[DeadLetter]) -> list[Trace]:
    """One trace per message, oldest first."""
    attempts, dead = defaultdict[str, list[AttemptEntry]](list), defaultdict[str, list[DeadLetter]](list)
    sources: dict[str, DeadLetter] = {}  # by the identity of their replay
    for entry in entries:
        attempts[entry.message_id].append(entry)
    for dead_letter in dead_letters:
        dead[dead_letter.message_id].append(dead_letter)
        if dead_letter.replay is not None and dead_letter.replay.message_id:
            sources[dead_letter.replay.message_id] = dead_letter
    found = [
        (
            _started_at(attempts[each], dead[each], sources.get(each)),
            build_trace(each, attempts[each], dead[each], sources.get(each)),
        )
        for each in dict.fromkeys([*attempts, *dead, *sources])
    ]
    return [trace for _, trace in sorted(found, key=lambda each: each[0]) if trace is not None]


def _started_at(entries: Sequence[AttemptEntry], dead_letters: Sequence[DeadLetter], source: DeadLetter | None) -> int:
    times = [*(entry.at for entry in entries), *(each.dead_lettered_at for each in dead_letters)]
    replayed = [source.replay.at] if source is not None and source.replay is not None else []
    return min(times or replayed)


def fields_of(line: bytes) -> dict[str, Any]:
    """The fields of a log line; empty if it is not a JSON object."""
    try:
        fields = orjson.loads(line[line.find(b"{") :])  # collectors often prepend a time
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def build_trace(
    message_id: str,
    entries: Sequence[AttemptEntry],
    dead_letters: Sequence[DeadLetter],
    source: DeadLetter | None = None,
) -> Trace | None:
    """The trace of one message. Attempts without a log line are added from its dead letters.

    Args:
        message_id: the identity.
        entries: its attempts by log lines.
        dead_letters: several only if a release without identities stored them.
        source: for a replay, the dead letter that it was sent for.
    """
    attempts = list(entries)
    for dead_letter in dead_letters:
        attempts += _unlogged(dead_letter, attempts)
    attempts.sort(key=lambda entry: (entry.at, entry.number))
    replay_of = None if source is None else source.replay_of or source.message_id
    replay_of = dead_letters[-1].replay_of or replay_of if dead_letters else replay_of
    ended = end_of(entries)
    if dead_letters and (ended is None or ended[0] < dead_letters[-1].dead_lettered_at):
        last = dead_letters[-1]
        state = State.PENDING if _is_replayed_without_identity(last, attempts) else State.DEAD_LETTERED
        return Trace(message_id, last.id, last.subject, state, tuple(attempts), replay_of, last.route)
    if attempts:
        state = State.PENDING if ended is None else ended[1]
        latest = attempts[-1]
        return Trace(message_id, latest.id, latest.subject, state, tuple(attempts), replay_of, latest.route)
    if source is not None:
        return Trace(message_id, source.id, source.subject, State.PENDING, (), replay_of, source.route)
    return None


def _is_replayed_without_identity(dead_letter: DeadLetter, attempts: Sequence[AttemptEntry]) -> bool:
    """Whether a release without identities replayed the message under the same id, and no attempt followed yet."""
    mark = dead_letter.replay
    return mark is not None and not mark.message_id and not any(each.at > mark.at for each in attempts)


def _unlogged(dead_letter: DeadLetter, attempts: Sequence[AttemptEntry]) -> list[AttemptEntry]:
    errors = dead_letter.shown().errors
    known = {entry.number for entry in attempts if entry.at <= dead_letter.dead_lettered_at + 1}
    first = dead_letter.attempts - len(errors) + 1  # the oldest errors may have been cut
    return [
        AttemptEntry(
            message_id=dead_letter.message_id,
            id=dead_letter.id,
            subject=dead_letter.subject,
            route=dead_letter.route,
            number=first + index,
            at=note.at,
            stage="first" if first + index == 1 else "retry",
            outcome="refused" if note.key == "refused" else "failed",
            error_class=note.key,
            status=int(note.key) if note.key.isdecimal() else None,
            duration_ms=0.0,
            detail=note.detail,
        )
        for index, note in enumerate(errors)
        if first + index not in known
    ]


def attempt_entry(fields: dict[str, Any]) -> AttemptEntry | None:
    """The attempt that a log line records, or None."""
    number, at = fields.get("chaski.attempt.number"), milliseconds(fields.get("@timestamp"))
    if not isinstance(number, int) or at is None:
        return None
    duration = float(fields.get("event.duration", 0)) / 1e6
    return AttemptEntry(
        message_id=str(fields["chaski.message.id"]),
        id=str(fields.get("chaski.id", fields["chaski.message.id"])),  # a release without identities logs only one id
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
def open_lines(option: str, name: str) -> Iterator[Iterable[bytes]]:
    """The lines of a file, or of standard input for `-`. Raises CommandError with the option's name."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only errors of opening are caught here
    except OSError as error:
        raise wrong_input(
            f"{option} {name}: {error.strerror}", "give a readable file, or - for standard input"
        ) from error
    with stream:
        yield stream
