"""Runs `chaski ledger --accepted`: accounts of a route on AWS by message ids, exact after crashes of any process.

An id is an identity (`messageId` of a response) if ingest returned one, else a producer's id. The outcome of a replay
counts for the message that was accepted, as far as dead letters exist to name it.

Counters end with their process; ids do not. Accepted messages are known from the 202 responses, deliveries from the
workers' log lines (or the target's own log), dead letters from the route's table, and pending messages from its queues.
Queues are counted first and logs are read last: a message that moves meanwhile is seen at least once.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rich.text import Text

from chaski_cli.ledger.accounts import COLUMNS, Account, pending_on_queues
from chaski_cli.output import emit_result, printable, stderr, stdout, table
from chaski_cli.trace.logs import fields_of, open_lines
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter
from chaski_replay.backends import BackendLocation, open_location
from chaski_runtime.process.command_error import CommandError, ExitCode

_SHOWN = 20
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IdAccount:
    """The account of one route by ids; every accepted id is counted once."""

    route: str
    accepted: int
    delivered: int
    dead_lettered: int
    discarded: int
    on_queues: int  # messages of any origin
    not_found: tuple[str, ...]  # accepted, but neither delivered nor dead letters nor discarded; sorted

    @property
    def pending(self) -> int:
        """Those not found that may be on the queues."""
        return min(len(self.not_found), self.on_queues)

    @property
    def counts(self) -> Account:
        """The account in numbers."""
        return Account(self.route, self.accepted, self.delivered, self.dead_lettered, self.discarded, self.pending)

    @property
    def unaccounted(self) -> int:
        """Those that can't be."""
        return self.counts.unaccounted

    def as_json(self) -> dict[str, Any]:
        """`{route, accepted, delivered, deadLettered, discarded, pending, unaccounted, onQueues, notFound}`."""
        return self.counts.as_json() | {"onQueues": self.on_queues, "notFound": list(self.not_found)}


def run_ids(location: BackendLocation, accepted: Sequence[str], logs: Sequence[str], *, as_json: bool) -> ExitCode:
    """Prints the account of one route; FAILED if a message is unaccounted for.

    Args:
        location: its resolved route.
        accepted: files of ingest's responses as JSON lines, or of ids, one per line.
        logs: files of the workers' JSON log lines, or of ids that a target received.
        as_json: print JSON.
    """
    with ExitStack() as stack:
        ids = accepted_ids(
            chain.from_iterable(stack.enter_context(open_lines("--accepted", each)) for each in accepted)
        )
    if not ids:
        raise CommandError(
            "--accepted contains no ids", next_step="give ingest's responses as JSON lines, or one id per line"
        )
    route, on_queues, dead = asyncio.run(_read_stored(location, ids))
    with ExitStack() as stack:
        lines = chain.from_iterable(stack.enter_context(open_lines("--logs", each)) for each in logs)
        delivered, discarded = ended_ids(lines, route, ids, dead.roots)
    discarded -= delivered | dead.ids
    not_found = tuple(sorted(ids - delivered - dead.ids - discarded))
    account = IdAccount(
        route, len(ids), len(delivered), len(dead.ids - delivered), len(discarded), on_queues, not_found
    )
    if as_json:
        emit_result(account.as_json())
    else:
        _show(account)
    return ExitCode.FAILED if account.unaccounted else ExitCode.OK


def accepted_ids(lines: Iterable[bytes]) -> set[str]:
    """The identities in ingest's responses without rejections, or the lines themselves if they are ids.

    Responses of a release without identities have the producer's id only.
    """
    found: set[str] = set()
    for line in lines:
        fields = fields_of(line)
        if b"{" not in line:
            found.update(_plain_id(line))
        elif fields.get("status", 202) == 202 and isinstance(
            identity := fields.get("messageId", fields.get("id")), str
        ):
            found.add(identity)
    return found


def ended_ids(
    lines: Iterable[bytes], route: str, accepted: AbstractSet[str], roots: Mapping[str, str]
) -> tuple[set[str], set[str]]:
    """The accepted ids that were delivered, by lines of a route's attempts or lines that are ids; and those discarded.

    `roots`: the identity of each replay's original message.
    """
    found: dict[object, set[str]] = {"delivered": set(), "discarded": set()}
    for line in lines:
        if b'"delivered"' in line or b'"discarded"' in line:
            fields = fields_of(line)
            ended = found.get(fields.get("chaski.attempt.outcome"))
            if ended is not None and f"{fields.get('labels.namespace')}/{fields.get('labels.route')}" == route:
                identity = str(fields.get("chaski.message.id"))
                ended.add(_counted(roots.get(identity, identity), str(fields.get("chaski.id")), accepted))
        elif b"{" not in line:
            found["delivered"].update(roots.get(each, each) for each in _plain_id(line))
    return found["delivered"] & accepted, found["discarded"] & accepted


@dataclass(frozen=True, slots=True)
class _DeadLetterIds:
    """Ids by the route's dead letters."""

    ids: set[str]  # accepted ids that are dead letters
    roots: dict[str, str]  # identity of a replay -> identity of the message that was accepted


async def _read_stored(location: BackendLocation, ids: AbstractSet[str]) -> tuple[str, int, _DeadLetterIds]:
    resolved = location.read_resolved()
    on_queues = await pending_on_queues(resolved)
    async with open_location(location) as backend:
        return (
            resolved.route.key,
            on_queues,
            await _dead_letters_among(backend.dead_letters.find(DeadLetterFilter()), ids),
        )


async def _dead_letters_among(dead_letters: AsyncIterable[DeadLetter], ids: AbstractSet[str]) -> _DeadLetterIds:
    dead = _DeadLetterIds(set(), {})
    async for dead_letter in dead_letters:
        root = dead_letter.replay_of or dead_letter.message_id
        if root != dead_letter.message_id:
            dead.roots[dead_letter.message_id] = root
        if dead_letter.replay is not None and dead_letter.replay.message_id:
            dead.roots[dead_letter.replay.message_id] = root
        if (counted := _counted(root, dead_letter.id, ids)) in ids:
            dead.ids.add(counted)
    return dead


def _counted(identity: str, label: str, accepted: AbstractSet[str]) -> str:
    """The one of the two ids under which a message was accepted."""
    return label if identity not in accepted and label in accepted else identity


def _plain_id(line: bytes) -> frozenset[str]:
    text = line.decode("utf-8", "replace").strip()
    return frozenset({text}) if text else _NONE


def _show(account: IdAccount) -> None:
    stdout().print(table(COLUMNS, [account.counts.row], right=COLUMNS[1:]))
    if account.unaccounted:
        shown = ", ".join(map(printable, account.not_found[:_SHOWN]))
        more = f" and {len(account.not_found) - _SHOWN} more" if len(account.not_found) > _SHOWN else ""
        note = f"no delivery, discard or dead letter found for {shown}{more}; {account.on_queues} messages are on the queues"
        stderr().print(Text(note, style="yellow"), soft_wrap=True)
