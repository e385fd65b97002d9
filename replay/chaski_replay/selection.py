"""Decides whether a dead letter is sent again, and builds the message. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chaski_core.dead_letter import DeadLetter, DeadLetterKey, ReplayMark
from chaski_core.message.envelope import Metadata, metadata_of, write_envelope
from chaski_core.message.refused_headers import normalized
from chaski_core.message.subject import group_id, replay_deduplication_id
from chaski_core.message.target_url import TargetUrl, parse_url
from chaski_core.ports import MAX_QUEUED_BYTES, OutgoingMessage
from chaski_core.route.resolved import ResolvedRoute

_ORIGIN = re.compile(r"[^:/?#]+://[^/?#]*")  # RFC 3986 appendix B; the rest is kept as written
# Headers by which a client authenticates itself, as `normalized` writes them; they are not for another origin (as Fetch has it
# for redirects: https://fetch.spec.whatwg.org/#http-redirect-fetch).
_CREDENTIAL = re.compile(
    r"authori[sz]ation|cookie|credential|passw(or)?d|secret|signature|assertion|(^|-)(auth|dpop|jwt|session)(-|$)"
    r"|token|(api|access|subscription|functions|private|auth|shared)-?key|(^|-)key$|^x-amz-(date|security|content)"
)
REPLAY_FIELD = "replay"  # metadata field: the run that sent the message


class SkipReason(StrEnum):
    """Why a dead letter is not sent again. Values are the field names of a report's `skipped`."""

    MALFORMED = "malformed"
    NO_ROUTE = "noRoute"
    NOT_ALLOWED = "notAllowed"
    REPLAYED = "replayedBefore"
    DONE = "sentByThisRun"
    OWN = "own"  # created by this run; not reported
    GONE = "gone"
    TOO_LARGE = "tooLarge"
    REDACTED = "redacted"

    @property
    def description(self) -> str:
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    SkipReason.MALFORMED: "malformed: its bytes are not a message",
    SkipReason.NO_ROUTE: "its route was not found",
    SkipReason.NOT_ALLOWED: "no allow rule covers its URL now",
    SkipReason.REPLAYED: "sent again before, by another run",
    SkipReason.DONE: "sent before by this run",
    SkipReason.OWN: "created by this run",
    SkipReason.GONE: "discarded or expired during the run",
    SkipReason.TOO_LARGE: "too large for a queue with its new metadata",
    SkipReason.REDACTED: "stored without the parts that its route redacts (redact.stored)",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One replay, however often it is restarted."""

    id: str
    again: bool = False  # also dead letters that another run has sent
    to_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A message to send for a dead letter, with what decides its position."""

    key: DeadLetterKey
    id: str  # the label
    order: int  # epoch milliseconds: when it was accepted or, if unknown, its first error or its end
    sequence_number: int | None  # from its first queue: decides the order within its subject where it is known
    mark: ReplayMark | None  # the dead letter's when it was judged
    queue_url: str
    target: str  # URL to call
    epoch: int
    message: OutgoingMessage


IsAllowed = Callable[[str, str], bool]  # route, URL -> whether an allow rule covers it
AllowedBy = Callable[[Mapping[str, ResolvedRoute]], IsAllowed]  # routes by namespace/name; needs the worker's guard


def judge(
    dead_letter: DeadLetter, run: Run, routes: Mapping[str, ResolvedRoute], is_allowed: IsAllowed
) -> Ready | SkipReason:
    """The message to send for a dead letter, or why none is sent."""
    if dead_letter.envelope is None:
        return SkipReason.MALFORMED
    before = _before(dead_letter, run)
    if before is not None:
        return before
    resolved = routes.get(dead_letter.route)
    if resolved is None:
        return SkipReason.NO_ROUTE
    document = _rewritten(dead_letter.envelope, run)
    target = str(document["body"].get("url", ""))
    if not is_allowed(dead_letter.route, target):
        return SkipReason.NOT_ALLOWED
    kept = metadata_of(dead_letter.envelope) or Metadata()
    epoch = max(kept.epoch, dead_letter.replay.epoch if dead_letter.replay else 0) + 1
    body = write_envelope(document, _metadata(dead_letter, kept, epoch))
    if len(body) > MAX_QUEUED_BYTES:
        return SkipReason.TOO_LARGE
    message = OutgoingMessage(
        body, group_id(dead_letter.subject), replay_deduplication_id(dead_letter.message_id, epoch)
    )
    sequence_number = dead_letter.sequence_number if dead_letter.sequence_number is not None else kept.sequence_number
    place = resolved.place(dead_letter.subject)[2]
    order = _order(dead_letter, kept)
    return Ready(
        dead_letter.key, dead_letter.id, order, sequence_number, dead_letter.replay, place, target, epoch, message
    )


def _metadata(dead_letter: DeadLetter, kept: Metadata, epoch: int) -> Metadata:
    """Metadata of a new message; its queue will give it its identity.

    A dead letter stored by a release without identities may come from a message that a newer release had on a rung.
    """
    identity = (
        dead_letter.message_id
        if dead_letter.message_id != dead_letter.id
        else kept.message_id or dead_letter.message_id
    )
    return replace(
        kept,
        id=dead_letter.id,
        route=dead_letter.route,
        epoch=epoch,
        ladder=None,
        message_id=None,
        sequence_number=None,
        queued_at=None,
        due_at=None,
        hops=0,
        replay_of=kept.replay_of or identity,
    )


def rewritten_url(url: str, to_url: str) -> str:
    """`to_url`, with the path and query of `url` where it has none of its own."""
    if _ORIGIN.sub("", to_url, count=1):
        return to_url
    own = _ORIGIN.sub("", url, count=1).partition("#")[0]
    return to_url + (own if own.startswith("/") else f"/{own}")


def _before(dead_letter: DeadLetter, run: Run) -> SkipReason | None:
    metadata = dead_letter.envelope.get("metadata") if dead_letter.envelope else None
    if isinstance(metadata, dict) and metadata.get(REPLAY_FIELD) == run.id:
        return SkipReason.OWN
    if dead_letter.replay is None:
        return SkipReason.REDACTED if dead_letter.redaction.stored else None
    if dead_letter.replay.run == run.id:
        return SkipReason.DONE
    return None if run.again else SkipReason.REPLAYED


def _rewritten(envelope: Mapping[str, Any], run: Run) -> dict[str, Any]:
    metadata = envelope.get("metadata")
    document = {**envelope, "metadata": {**(metadata if isinstance(metadata, dict) else {}), REPLAY_FIELD: run.id}}
    if run.to_url is not None:
        body = document["body"]
        before = str(body.get("url", ""))
        document["body"] = {**body, "url": rewritten_url(before, run.to_url)}
        headers = body.get("headers")
        if isinstance(headers, dict) and not _is_same_origin(before, document["body"]["url"]):
            document["body"]["headers"] = {
                name: value for name, value in headers.items() if not _CREDENTIAL.search(normalized(name))
            }
    return document


def _is_same_origin(one: str, other: str) -> bool:
    first, second = parse_url(one), parse_url(other)
    return isinstance(first, TargetUrl) and isinstance(second, TargetUrl) and first.origin == second.origin


def _order(dead_letter: DeadLetter, metadata: Metadata) -> int:
    if metadata.accepted_at is not None:
        return metadata.accepted_at
    return min([dead_letter.dead_lettered_at, *(note.at for note in dead_letter.errors)])
