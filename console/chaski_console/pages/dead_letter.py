"""One dead letter with its errors and its message, and the question before dead letters are discarded."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from chaski_console import formatting
from chaski_console.pages.layout import Chip, CurrentUser, Frame, class_chip
from chaski_console.pages.rendering import Html, render
from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import ErrorNote, Reason
from chaski_core.timestamps import short_time

_MAX_DOCUMENT_CHARACTERS = 200_000
REASONS = {
    Reason.EXHAUSTED: "no retry is left",
    Reason.DISCARDED: "the route discards messages with this status",
    Reason.SKIPPED: "a person decided that it is not attempted any more",
    Reason.TOO_OLD: "older than the route allows",
    Reason.NO_LADDER: "the route declares no retries for this error class",
    Reason.REFUSED: "the route does not allow the target",
    Reason.MALFORMED: "the message is not a valid envelope",
    Reason.NO_METADATA: "the message was on a rung queue, but without retry metadata",
    Reason.EXPIRED: "the queue was about to delete the message because of its age",
    Reason.UNSENDABLE: "the queue of the next rung rejected the message permanently",
}


@dataclass(frozen=True, slots=True)
class PageContext:
    """What the pages of dead letters show besides dead letters."""

    user: CurrentUser
    form_token: str
    may_act: bool  # show the buttons for replay and discard
    now_ms: int
    replay_command: tuple[str, ...] = ()  # as in `Sources`
    in_cluster: bool = False  # as in `Sources`
    result: str = ""  # of the last action
    unreadable: tuple[str, ...] = ()  # routes whose dead letters could not be read, each with the reason
    stale_reason: str = ""  # why the list of routes may be outdated


@dataclass(frozen=True, slots=True)
class ActionForm:
    """The hidden fields of a form for replay and discard."""

    token: str
    back: str  # path of the page with the search
    selection: tuple[str, ...]  # `selection_value` of each dead letter


@dataclass(frozen=True, slots=True)
class ErrorView:
    """One failed attempt."""

    error_class: Chip
    at: str
    detail: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """One dead letter, whole."""

    at: str
    ago: str
    reason: str
    explanation: str
    detail: str
    error_class: Chip
    route: str
    message_id: str
    id: str
    replay_of: str | None
    subject: str
    target: str
    url: str
    attempts: int
    replayed: str  # when, and by which run; "" if it was not
    errors: tuple[ErrorView, ...]
    document: str
    form: ActionForm | None  # None: read-only


def dead_letter_page(dead_letters: Sequence[DeadLetter], context: PageContext) -> Html:
    """All dead letters of one message, newest first: several if replays failed too."""
    first = dead_letters[0]
    return render(
        "dead_letter.html",
        page=Frame(first.id, "/dead-letters", context.user),
        id=first.id,
        history_path=f"/messages/{quote(first.id, safe='')}",
        result=context.result,
        dead_letters=[dead_letter_view(each, context) for each in reversed(dead_letters)],
    )


def discard_page(dead_letters: Sequence[DeadLetter], back: str, context: PageContext) -> Html:
    """Asks before dead letters are discarded. `back`: path of the page with the search."""
    return render(
        "discard.html",
        page=Frame("Discard", "/dead-letters", context.user),
        dead_letters=dead_letters,
        form=action_form(dead_letters, back, context),
    )


def dead_letter_view(dead_letter: DeadLetter, context: PageContext) -> DeadLetterView:
    """The view of one dead letter, redacted."""
    dead_letter = dead_letter.shown()
    at, replay = dead_letter.dead_lettered_at, dead_letter.replay
    return DeadLetterView(
        at=short_time(at),
        ago=formatting.ago(at, context.now_ms),
        reason=dead_letter.reason.value,
        explanation=REASONS[dead_letter.reason],
        detail=dead_letter.detail,
        error_class=class_chip(dead_letter.error_class),
        route=dead_letter.route,
        message_id=dead_letter.message_id,
        id=dead_letter.id,
        replay_of=dead_letter.replay_of,
        subject=dead_letter.subject,
        target=dead_letter.target,
        url=dead_letter.url,
        attempts=dead_letter.attempts,
        replayed=f"{short_time(replay.at)} by {replay.run}" if replay else "",
        errors=tuple(map(_error, dead_letter.errors)),
        document=document_text(dead_letter),
        form=action_form([dead_letter], dead_letter_path(dead_letter), context) if context.may_act else None,
    )


def document_text(dead_letter: DeadLetter) -> str:
    """The message as indented JSON, or the text of one that is not an envelope; cut after 200,000 characters."""
    text = dead_letter.document_text(indented=True)
    return text if len(text) <= _MAX_DOCUMENT_CHARACTERS else f"{text[:_MAX_DOCUMENT_CHARACTERS]} …"


def action_form(dead_letters: Sequence[DeadLetter], back: str, context: PageContext) -> ActionForm:
    """The hidden fields for these dead letters."""
    return ActionForm(context.form_token, back, tuple(dict.fromkeys(map(selection_value, dead_letters))))


def selection_value(dead_letter: DeadLetter) -> str:
    """What a form sends for a dead letter: messages of several routes may have the same id."""
    return f"{dead_letter.route} {dead_letter.message_id}"


def dead_letter_path(dead_letter: DeadLetter) -> str:
    """Path of the page of a dead letter."""
    return f"/dead-letters/{quote(dead_letter.message_id, safe='')}"


def _error(note: ErrorNote) -> ErrorView:
    return ErrorView(class_chip(note.key), short_time(note.at), note.detail, note.excerpt)
