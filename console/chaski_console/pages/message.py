"""The history of a message."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import quote

from chaski_console.data.views import History
from chaski_console.pages.layout import Chip, CurrentUser, Frame, class_colour
from chaski_console.pages.rendering import Html, render
from chaski_core.ports import AttemptEntry
from chaski_core.timestamps import short_time

_STATE_COLOURS = {"pending": "warn", "delivered": "good", "dead-lettered": "bad", "discarded": "warn"}


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt."""

    number: int
    delivered: bool
    result: Chip  # HTTP status or error class
    outcome: str
    kind: str  # "first attempt" or "retry"
    at: str
    milliseconds: str  # its duration, as a number
    longest: str  # duration of the longest attempt of the message
    took: str  # its duration, for people
    detail: str


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One message."""

    message_id: str
    id: str
    replay_of: str | None
    subject: str
    state: Chip
    dead_letter_path: str  # "" without a dead letter
    attempts: tuple[AttemptView, ...]


def history_page(requested: str, histories: Sequence[History], dead: AbstractSet[str], user: CurrentUser) -> Html:
    """The messages of an identity or a label, attempt by attempt.

    Args:
        requested: the identity or the label.
        histories: one for each message, oldest first; at least one.
        dead: identities that have a dead letter.
        user: of the page.
    """
    views = tuple(history_view(each, has_dead_letter=each.message_id in dead) for each in histories)
    return render("message.html", page=Frame(requested, "/messages", user), requested=requested, histories=views)


def history_view(history: History, *, has_dead_letter: bool) -> HistoryView:
    """The view of one message."""
    longest = max((entry.duration_ms for entry in history.attempts), default=0.0)
    return HistoryView(
        message_id=history.message_id,
        id=history.id,
        replay_of=history.replay_of,
        subject=history.subject,
        state=Chip(history.state, _STATE_COLOURS.get(history.state, "")),
        dead_letter_path=f"/dead-letters/{quote(history.message_id, safe='')}" if has_dead_letter else "",
        attempts=tuple(_attempt(entry, longest) for entry in history.attempts),
    )


def _attempt(entry: AttemptEntry, longest: float) -> AttemptView:
    delivered = entry.outcome == "delivered"
    result = str(entry.status) if entry.status is not None else entry.error_class or entry.outcome
    return AttemptView(
        number=entry.number,
        delivered=delivered,
        result=Chip(result, "good" if delivered else class_colour(entry.error_class)),
        outcome=entry.outcome,
        kind="first attempt" if entry.stage == "first" else "retry",
        at=short_time(entry.at),
        milliseconds=f"{entry.duration_ms:.0f}",
        longest=f"{longest or 1:.0f}",
        took=f"{entry.duration_ms:,.0f} ms",
        detail="" if delivered else entry.detail,
    )
