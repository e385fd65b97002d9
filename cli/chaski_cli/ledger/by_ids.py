"""Runs `chaski ledger --accepted`: the accounts of a route on AWS by message ids, so over any crash of any process.

An id is an identity (`messageId` of an answer) where ingest gave one, else a producer's id. What a replay became counts
for the message that it comes from, as far as dead letters are there to say which that is.

Counters die with their process; ids do not. What was accepted is known to whoever got the 202s, what was delivered stands in
the workers' log lines (or in the target's own log), what was given up is in the route's table, and what is pending lies on
its queues. Queues are counted first and logs are read last: a message that moves meanwhile is seen at least once.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rich.text import Text

from chaski_cli.backends import BackendLocation, open_location, read_resolved_file
from chaski_cli.errors import CommandError, Exit
from chaski_cli.ledger.command import COLUMNS, Account, pending_on_queues
from chaski_cli.output import emit_json, printable, stderr, stdout, table
from chaski_cli.trace.logs import fields_of, opened_lines
from chaski_core.dead_letter import DeadLetter, DeadLetterFilter

_SHOWN = 20
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class IdAccount:
    """Both sides of one route, by ids. Every accepted id is counted once."""

    route: str
    accepted: int
    delivered: int
    dead_lettered: int
    on_queues: int  # messages, of whatever origin
    not_found: tuple[str, ...]  # accepted, neither delivered nor dead letters; sorted

    @property
    def pending(self) -> int:
        """Those of them that may lie on the queues."""
        return min(len(self.not_found), self.on_queues)

    @property
    def sides(self) -> Account:
        """The same in numbers."""
        return Account(self.route, self.accepted, self.delivered, self.dead_lettered, self.pending)

    @property
    def unaccounted(self) -> int:
        """Those that can't."""
        return self.sides.unaccounted

    def as_json(self) -> dict[str, Any]:
        """`{route, accepted, delivered, deadLettered, pending, unaccounted, onQueues, notFound}`."""
        return self.sides.as_json() | {"onQueues": self.on_queues, "notFound": list(self.not_found)}


def run_ids(where: BackendLocation, accepted: Sequence[str], logs: Sequence[str], *, as_json: bool) -> Exit:
    """The accounts of one route by ids; exit code 1 where something is unaccounted.

    Args:
        where: its resolved route.
        accepted: files of ingest's answers as JSON lines, or of ids, one a line.
        logs: files of the workers' JSON lines, or of ids that a target says it took.
        as_json: for machines.
    """
    with ExitStack() as stack:
        ids = accepted_ids(
            chain.from_iterable(stack.enter_context(opened_lines("--accepted", each)) for each in accepted)
        )
    if not ids:
        raise CommandError("--accepted names no id", next_step="give the answers of ingest, or ids, one a line")
    route, on_queues, dead = asyncio.run(_stored(where, ids))
    with ExitStack() as stack:
        lines = chain.from_iterable(stack.enter_context(opened_lines("--logs", each)) for each in logs)
        delivered = delivered_ids(lines, route, ids, dead.roots)
    account = IdAccount(
        route, len(ids), len(delivered), len(dead.ids - delivered), on_queues, tuple(sorted(ids - delivered - dead.ids))
    )
    if as_json:
        emit_json(account.as_json())
    else:
        _show(account)
    return Exit.FAILED if account.unaccounted else Exit.OK


def accepted_ids(lines: Iterable[bytes]) -> set[str]:
    """The identities in ingest's answers, rejections left out, or of lines that are ids.

    Answers of a release before identities have the producer's id only.
    """
    found: set[str] = set()
    for line in lines:
        fields = fields_of(line)
        if b"{" not in line:
            found.update(_plain(line))
        elif fields.get("status", 202) == 202 and isinstance(given := fields.get("messageId", fields.get("id")), str):
            found.add(given)
    return found


def delivered_ids(lines: Iterable[bytes], route: str, among: AbstractSet[str], roots: Mapping[str, str]) -> set[str]:
    """Those of `among` that lines of a route's attempts, or lines that are ids, say were delivered.

    `roots`: identities of replays, and of the messages that they come from.
    """
    found: set[str] = set()
    for line in lines:
        if b'"delivered"' in line:
            fields = fields_of(line)
            if (
                fields.get("chaski.attempt.outcome") == "delivered"
                and f"{fields.get('labels.namespace')}/{fields.get('labels.route')}" == route
            ):
                identity = str(fields.get("chaski.message.id"))
                found.add(_counted(roots.get(identity, identity), str(fields.get("chaski.id")), among))
        elif b"{" not in line:
            found.update(roots.get(each, each) for each in _plain(line))
    return found & among


@dataclass(frozen=True, slots=True)
class _Dead:
    """What dead letters say."""

    ids: set[str]  # those of the accepted that are dead letters
    roots: dict[str, str]  # of replays: the message that was accepted


async def _stored(where: BackendLocation, ids: AbstractSet[str]) -> tuple[str, int, _Dead]:
    assert where.route is not None  # noqa: S101 - judged by the command
    resolved = read_resolved_file(where.route)
    on_queues = await pending_on_queues(resolved)
    async with open_location(where) as opened:
        return resolved.route.key, on_queues, await _among(opened.dead_letters.find(DeadLetterFilter()), ids)


async def _among(letters: AsyncIterable[DeadLetter], ids: AbstractSet[str]) -> _Dead:
    dead = _Dead(set(), {})
    async for letter in letters:
        root = letter.replay_of or letter.message_id
        if root != letter.message_id:
            dead.roots[letter.message_id] = root
        if letter.replay is not None and letter.replay.message_id:
            dead.roots[letter.replay.message_id] = root
        if (counted := _counted(root, letter.id, ids)) in ids:
            dead.ids.add(counted)
    return dead


def _counted(identity: str, label: str, among: AbstractSet[str]) -> str:
    """By which of the two a message is among the accepted."""
    return label if identity not in among and label in among else identity


def _plain(line: bytes) -> frozenset[str]:
    text = line.decode("utf-8", "replace").strip()
    return frozenset({text}) if text else _NONE


def _show(account: IdAccount) -> None:
    stdout().print(table(COLUMNS, [account.sides.row], right=COLUMNS[1:]))
    if account.unaccounted:
        shown = ", ".join(map(printable, account.not_found[:_SHOWN]))
        more = f" and {len(account.not_found) - _SHOWN} more" if len(account.not_found) > _SHOWN else ""
        told = f"neither a delivery nor a dead letter is known of {shown}{more}; {account.on_queues} messages are on the queues"
        stderr().print(Text(told, style="yellow"), soft_wrap=True)
