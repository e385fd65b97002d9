"""Judges a dead letter: what is sent for it, or why it is not. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chaski_core.dead_letter import DeadLetter, DeadLetterKey, ReplayMark
from chaski_core.message.envelope import Metadata, metadata_of, write_envelope
from chaski_core.message.subject import group_id, replay_deduplication_id
from chaski_core.ports import OutgoingMessage
from chaski_core.route.resolved import ResolvedRoute

MAX_QUEUE_BYTES = 327_680  # MaximumMessageSize of every queue
_ORIGIN = re.compile(r"[^:/?#]+://[^/?#]*")  # RFC 3986 appendix B; what follows is kept as it is written
REPLAY_FIELD = "replay"  # in metadata: the run that sent the message


class Skip(StrEnum):
    """Why a dead letter is not sent again."""

    MALFORMED = "malformed: its bytes are no message"
    NO_ROUTE = "its route is not here"
    NOT_ALLOWED = "no allow rule covers its URL now"
    REPLAYED = "sent again before, by another run"
    DONE = "sent by this run before"
    OWN = "came of this very run"
    GONE = "discarded meanwhile, or its retention is over"
    TOO_LARGE = "too large for a queue with its new metadata"


@dataclass(frozen=True, slots=True)
class Run:
    """One replay, however often it is started anew."""

    id: str
    again: bool = False  # also what another run sent already
    to_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """What is sent for a dead letter, and what decides its turn."""

    key: DeadLetterKey
    id: str  # the label
    order: int  # epoch milliseconds: when it was accepted, as far as that is known
    sequence_number: int | None  # that its first queue gave it: decides within its subject, where it is known
    judged: ReplayMark | None  # its mark when this was decided
    url: str  # of the queue
    target: str  # URL that will be called
    epoch: int
    message: OutgoingMessage


Allowed = Callable[[str, str], bool]  # route, URL -> whether an allow rule covers it


def judge(letter: DeadLetter, run: Run, routes: Mapping[str, ResolvedRoute], allowed: Allowed) -> Ready | Skip:
    """What is to be done with a dead letter."""
    if letter.envelope is None:
        return Skip.MALFORMED
    before = _before(letter, run)
    if before is not None:
        return before
    resolved = routes.get(letter.route)
    if resolved is None:
        return Skip.NO_ROUTE
    document = _rewritten(letter.envelope, run)
    target = str(document["body"].get("url", ""))
    if not allowed(letter.route, target):
        return Skip.NOT_ALLOWED
    kept = metadata_of(letter.envelope) or Metadata()
    epoch = max(kept.epoch, letter.replay.epoch if letter.replay else 0) + 1
    body = write_envelope(document, _metadata(letter, kept, epoch))
    if len(body) > MAX_QUEUE_BYTES:
        return Skip.TOO_LARGE
    message = OutgoingMessage(body, group_id(letter.subject), replay_deduplication_id(letter.message_id, epoch))
    sequence_number = letter.sequence_number if letter.sequence_number is not None else kept.sequence_number
    place = resolved.place(letter.subject)[2]
    order = _order(letter, kept)
    return Ready(letter.key, letter.id, order, sequence_number, letter.replay, place, target, epoch, message)


def _metadata(letter: DeadLetter, kept: Metadata, epoch: int) -> Metadata:
    """Of a new message: its identity is what the queue will give it.

    A dead letter that a release before identities kept can come from a message that a newer one had on a rung.
    """
    identity = letter.message_id if letter.message_id != letter.id else kept.message_id or letter.message_id
    return replace(
        kept,
        id=letter.id,
        route=letter.route,
        epoch=epoch,
        ladder=None,
        message_id=None,
        sequence_number=None,
        hops=0,
        replay_of=kept.replay_of or identity,
    )


def rewritten_url(url: str, to_url: str) -> str:
    """The URL of a message that is sent elsewhere: `to_url`, with the message's own path and query where it has none."""
    if _ORIGIN.sub("", to_url, count=1):
        return to_url
    own = _ORIGIN.sub("", url, count=1).partition("#")[0]
    return to_url + (own if own.startswith("/") else f"/{own}")


def _before(letter: DeadLetter, run: Run) -> Skip | None:
    metadata = letter.envelope.get("metadata") if letter.envelope else None
    if isinstance(metadata, dict) and metadata.get(REPLAY_FIELD) == run.id:
        return Skip.OWN
    if letter.replay is None:
        return None
    if letter.replay.run == run.id:
        return Skip.DONE
    return None if run.again else Skip.REPLAYED


def _rewritten(envelope: Mapping[str, Any], run: Run) -> dict[str, Any]:
    metadata = envelope.get("metadata")
    document = {**envelope, "metadata": {**(metadata if isinstance(metadata, dict) else {}), REPLAY_FIELD: run.id}}
    if run.to_url is not None:
        body = document["body"]
        document["body"] = {**body, "url": rewritten_url(str(body.get("url", "")), run.to_url)}
    return document


def _order(letter: DeadLetter, metadata: Metadata) -> int:
    if metadata.accepted_at is not None:
        return metadata.accepted_at
    return min([letter.dead_lettered_at, *(note.at for note in letter.errors)])
