"""One dead letter with its errors and its message, and the question before dead letters are discarded."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from chaski_console import formatting
from chaski_console.html import Markup, el
from chaski_console.pages.layout import CurrentUser, chip, class_colour, fact, isolated, notice, page
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason

_MAX_DOCUMENT_CHARACTERS = 200_000
REASONS = {
    Reason.EXHAUSTED: "no retry is left",
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


def dead_letter_page(dead_letters: Sequence[DeadLetter], context: PageContext) -> Markup:
    """All dead letters of one message, newest first: several if replays failed too."""
    first = dead_letters[0]
    return page(
        first.id,
        "/dead-letters",
        el(
            "div",
            el("h1", el("span", "Dead letter ", class_="faint"), isolated(first.id)),
            el("a", "History", href=f"/messages/{quote(first.id, safe='')}", class_="more"),
            class_="title",
        ),
        notice("good", context.result) if context.result else None,
        [_article(each, context) for each in reversed(dead_letters)],
        user=context.user,
    )


def discard_page(dead_letters: Sequence[DeadLetter], back: str, context: PageContext) -> Markup:
    """Asks before dead letters are discarded. `back`: path of the page with the search."""
    count = "this dead letter" if len(dead_letters) == 1 else f"{len(dead_letters)} dead letters"
    items = [el("li", isolated(each.id), " of subject ", isolated(each.subject)) for each in dead_letters]
    return page(
        "Discard",
        "/dead-letters",
        el("div", el("h1", f"Discard {count}?"), class_="title"),
        notice("bad", "Discarded dead letters are deleted permanently and can't be replayed."),
        el("ul", items, class_="plain"),
        el(
            "form",
            _hidden_fields(dead_letters, back, context),
            el("input", type="hidden", name="confirmed", value="yes"),
            el("button", "Discard permanently", class_="danger", name="action", value="discard"),
            el("a", "Cancel", href=back, class_="button"),
            method="post",
            action="/dead-letters",
            class_="actions",
        ),
        user=context.user,
    )


def action_buttons(*, selected: bool) -> list[Markup]:
    """Replay and discard. `selected`: for the selected rows of a list, and disabled while none is selected."""
    suffix = " selected" if selected else ""
    return [
        el("button", f"Replay{suffix}", class_="primary", name="action", value="replay", data_needs_selection=selected),
        el("button", f"Discard{suffix} …", name="action", value="discard", data_needs_selection=selected),
    ]


def selection_value(dead_letter: DeadLetter) -> str:
    """What a form sends for a dead letter: messages of several routes may have the same id."""
    return f"{dead_letter.route} {dead_letter.message_id}"


def dead_letter_path(dead_letter: DeadLetter) -> str:
    """Path of the page of a dead letter."""
    return f"/dead-letters/{quote(dead_letter.message_id, safe='')}"


def class_chip(dead_letter: DeadLetter) -> Markup:
    """The error class, coloured."""
    return chip(dead_letter.error_class or "none", class_colour(dead_letter.error_class))


def _article(dead_letter: DeadLetter, context: PageContext) -> Markup:
    return el(
        "article",
        el("dl", _facts(dead_letter, context.now_ms), class_="facts"),
        _errors(dead_letter),
        el("h2", "Message"),
        _document(dead_letter),
        _actions(dead_letter, context) if context.may_act else None,
        class_="card whole",
    )


def _facts(dead_letter: DeadLetter, now_ms: int) -> list[Markup]:
    at, replay = dead_letter.dead_lettered_at, dead_letter.replay
    explanation = el("span", f" · {REASONS[dead_letter.reason]}", class_="faint")
    return [
        *fact(
            "dead-lettered", formatting.timestamp(at), el("span", f" · {formatting.ago(at, now_ms)}", class_="faint")
        ),
        *fact("reason", dead_letter.reason.value, explanation),
        *(fact("detail", isolated(dead_letter.detail)) if dead_letter.detail else ()),
        *fact("error class", class_chip(dead_letter)),
        *fact("route", isolated(dead_letter.route)),
        *fact("message ID", isolated(dead_letter.message_id)),
        *fact("ID", isolated(dead_letter.id)),
        *(fact("replay of", isolated(dead_letter.replay_of)) if dead_letter.replay_of is not None else ()),
        *fact("subject", isolated(dead_letter.subject)),
        *fact("target", isolated(dead_letter.target), el("span", " ", isolated(dead_letter.url), class_="faint")),
        *fact("attempts", dead_letter.attempts),
        *(fact("replayed", formatting.timestamp(replay.at), f" by {replay.run}") if replay else ()),
    ]


def _errors(dead_letter: DeadLetter) -> Markup | None:
    if not dead_letter.errors:
        return None
    items = [
        el(
            "li",
            el(
                "div",
                chip(note.key, class_colour(note.key)),
                el("time", formatting.timestamp(note.at)),
                isolated(note.detail),
                class_="line",
            ),
            el("pre", note.excerpt) if note.excerpt else None,
        )
        for note in dead_letter.errors
    ]
    return el("section", el("h2", "Errors"), el("ol", items, class_="errors"))


def _document(dead_letter: DeadLetter) -> Markup:
    if dead_letter.envelope is None:
        shown = (dead_letter.raw or b"").decode("utf-8", "backslashreplace")
    else:
        shown = json_codec.dumps(dead_letter.envelope, indented=True).decode()
    cut = len(shown) > _MAX_DOCUMENT_CHARACTERS
    return el("pre", shown[:_MAX_DOCUMENT_CHARACTERS], " …" if cut else None, class_="document", tabindex=0)


def _actions(dead_letter: DeadLetter, context: PageContext) -> Markup:
    return el(
        "form",
        _hidden_fields([dead_letter], dead_letter_path(dead_letter), context),
        action_buttons(selected=False),
        method="post",
        action="/dead-letters",
        class_="actions",
    )


def _hidden_fields(dead_letters: Sequence[DeadLetter], back: str, context: PageContext) -> list[Markup]:
    values = [
        ("token", context.form_token),
        ("back", back),
        *(("id", each) for each in dict.fromkeys(map(selection_value, dead_letters))),
    ]
    return [el("input", type="hidden", name=name, value=value) for name, value in values]
