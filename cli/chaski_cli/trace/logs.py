"""A message's trace on AWS: from the workers' JSON log lines, and from the dead letters of its route.

Nothing else is stored for each delivery there, so without logs only what failed for good is known.
"""

import contextlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import orjson

from chaski_cli.backends import BackendLocation
from chaski_cli.errors import wrong_input
from chaski_cli.sources import open_source
from chaski_core.dead_letter import DeadLetter
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import milliseconds
from chaski_embedded.storage.reader import State, Trace


def traces_from_logs(where: BackendLocation, logs: str | None, message_id: str) -> list[Trace]:
    """What logs and dead letters say of the messages of an identity or of a label, oldest first.

    Args:
        where: the resolved route; without one only logs are read.
        logs: a file of JSON lines, `-` for standard input, or None.
        message_id: an identity, or the producer's id.
    """
    letters: Sequence[DeadLetter] = ()
    if where.route is not None:
        with open_source(where) as source:
            letters = source.get(message_id)
    entries: list[AttemptEntry] = []
    if logs is not None:
        with opened_lines("--logs", logs) as lines:
            entries = read_attempts(lines, {message_id, *known_ids(letters)})
    return traces(entries, letters)


def known_ids(letters: Iterable[DeadLetter]) -> set[str]:
    """Identities of dead letters, and of the replays that were sent for them."""
    found = set()
    for letter in letters:
        found.add(letter.message_id)
        if letter.replay is not None and letter.replay.message_id:
            found.add(letter.replay.message_id)
    return found


def read_attempts(lines: Iterable[bytes], wanted: AbstractSet[str]) -> list[AttemptEntry]:
    """The attempts of identities or labels among log lines, oldest first.

    Lines of other messages, and what is no JSON, are passed over.
    """
    texts = [each.encode() for each in wanted]
    found = (fields_of(line) for line in lines if any(text in line for text in texts))
    entries = (
        attempt_entry(fields)
        for fields in found
        if fields.get("chaski.message.id") in wanted or fields.get("chaski.id") in wanted
    )
    return sorted((each for each in entries if each is not None), key=lambda entry: (entry.at, entry.number))


def traces(entries: Iterable[AttemptEntry], letters: Iterable[DeadLetter]) -> list[Trace]:
    """A trace for each message, oldest first."""
    noted, dead = defaultdict[str, list[AttemptEntry]](list), defaultdict[str, list[DeadLetter]](list)
    replays: dict[str, DeadLetter] = {}
    for entry in entries:
        noted[entry.message_id].append(entry)
    for letter in letters:
        dead[letter.message_id].append(letter)
        if letter.replay is not None and letter.replay.message_id:
            replays[letter.replay.message_id] = letter
    made = [
        (_begin(noted[each], dead[each], replays.get(each)), merged(each, noted[each], dead[each], replays.get(each)))
        for each in dict.fromkeys([*noted, *dead, *replays])
    ]
    return [trace for _, trace in sorted(made, key=lambda each: each[0]) if trace is not None]


def _begin(entries: Sequence[AttemptEntry], letters: Sequence[DeadLetter], source: DeadLetter | None) -> int:
    times = [*(entry.at for entry in entries), *(letter.dead_lettered_at for letter in letters)]
    replayed = [source.replay.at] if source is not None and source.replay is not None else []
    return min(times or replayed)


def fields_of(line: bytes) -> dict[str, Any]:
    """The fields of a log line; none where it is no JSON object."""
    try:
        fields = orjson.loads(line[line.find(b"{") :])  # collectors like to put a time before
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def merged(
    message_id: str, entries: Sequence[AttemptEntry], letters: Sequence[DeadLetter], source: DeadLetter | None = None
) -> Trace | None:
    """The trace of one message. Attempts that a dead letter has and no log line are added from it.

    Args:
        message_id: the identity.
        entries: its attempts by log lines.
        letters: its dead letters; several only where a release before identities kept them.
        source: of a replay: the dead letter that it was sent for.
    """
    told = list(entries)
    for letter in letters:
        told += _untold(letter, told)
    told.sort(key=lambda entry: (entry.at, entry.number))
    of = None if source is None else source.replay_of or source.message_id
    of = letters[-1].replay_of or of if letters else of
    delivered_at = max((entry.at for entry in entries if entry.outcome == "delivered"), default=None)
    if letters and (delivered_at is None or delivered_at < letters[-1].dead_lettered_at):
        state = State.PENDING if _sent_before_identities(letters[-1], told) else State.DEAD_LETTERED
        return Trace(message_id, letters[-1].id, letters[-1].subject, state, tuple(told), of)
    if told:
        state = State.PENDING if delivered_at is None else State.DELIVERED
        return Trace(message_id, told[-1].id, told[-1].subject, state, tuple(told), of)
    if source is not None:
        return Trace(message_id, source.id, source.subject, State.PENDING, (), of)
    return None


def _sent_before_identities(letter: DeadLetter, told: Sequence[AttemptEntry]) -> bool:
    """Whether a release before identities sent a message again, under the same id, and nothing came of it so far."""
    mark = letter.replay
    return mark is not None and not mark.message_id and not any(each.at > mark.at for each in told)


def _untold(letter: DeadLetter, told: Sequence[AttemptEntry]) -> list[AttemptEntry]:
    known = {entry.number for entry in told if entry.at <= letter.dead_lettered_at + 1}
    first = letter.attempts - len(letter.errors) + 1  # of very many the oldest may have been cut
    return [
        AttemptEntry(
            message_id=letter.message_id,
            id=letter.id,
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
        id=str(fields.get("chaski.id", fields["chaski.message.id"])),  # a release before identities has one only
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
