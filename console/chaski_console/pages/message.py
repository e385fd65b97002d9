"""The history of a message."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote

from chaski_console import formatting
from chaski_console.data.views import History
from chaski_console.html import Markup, el
from chaski_console.pages.layout import CurrentUser, chip, class_colour, fact, isolated, notice, page
from chaski_core.ports import AttemptEntry

_STATE_COLOURS = {"pending": "warn", "delivered": "good", "dead-lettered": "bad"}


def history_page(requested: str, histories: Sequence[History], dead: AbstractSet[str], user: CurrentUser) -> Markup:
    """The messages of an identity or a label, attempt by attempt.

    Args:
        requested: the identity or the label.
        histories: one for each message, oldest first; at least one.
        dead: identities that have a dead letter.
        user: of the page.
    """
    only = histories[0] if len(histories) == 1 else None
    return page(
        requested,
        "/messages",
        el(
            "div",
            el("h1", el("span", "Message ", class_="faint"), isolated(requested)),
            _state(only) if only else el("span", f"{len(histories)} messages", class_="faint"),
            _dead_letter_link(only) if only and only.message_id in dead else None,
            class_="title",
        ),
        [_history(each, dead, alone=only is not None) for each in histories],
        user=user,
    )


def _history(history: History, dead: AbstractSet[str], *, alone: bool) -> Markup:
    longest = max((entry.duration_ms for entry in history.attempts), default=0.0)
    facts = [
        *fact("message ID", isolated(history.message_id)),
        *fact("ID", isolated(history.id)),
        *(fact("replay of", isolated(history.replay_of)) if history.replay_of is not None else ()),
        *fact("subject", isolated(history.subject)),
        *fact("attempts", len(history.attempts)),
    ]
    return el(
        "article",
        None
        if alone
        else el(
            "div",
            _state(history),
            _dead_letter_link(history) if history.message_id in dead else None,
            class_="title",
        ),
        el("dl", facts, class_="facts"),
        el("ol", [_attempt(entry, longest) for entry in history.attempts], class_="attempts")
        if history.attempts
        else notice("info", "No attempts are recorded here. The workers' logs have a line for each attempt."),
        class_="card whole",
    )


def _state(history: History) -> Markup:
    return chip(history.state, _STATE_COLOURS.get(history.state, ""))


def _dead_letter_link(history: History) -> Markup:
    return el("a", "Dead letter", href=f"/dead-letters/{quote(history.message_id, safe='')}", class_="more")


def _attempt(entry: AttemptEntry, longest: float) -> Markup:
    delivered = entry.outcome == "delivered"
    result = str(entry.status) if entry.status is not None else entry.error_class or entry.outcome
    return el(
        "li",
        el("span", entry.number, class_="step"),
        el(
            "div",
            el(
                "div",
                chip(result, "good" if delivered else class_colour(entry.error_class)),
                el("strong", entry.outcome),
                el("span", f"{entry.stage} attempt" if entry.stage == "first" else "retry", class_="faint"),
                el("time", formatting.timestamp(entry.at)),
                class_="line",
            ),
            el(
                "div",
                el("progress", value=f"{entry.duration_ms:.0f}", max=f"{longest or 1:.0f}", aria_label="Duration"),
                el("span", f"{entry.duration_ms:,.0f} ms"),
                class_="took",
            ),
            el("p", isolated(entry.detail)) if entry.detail and not delivered else None,
        ),
        class_="good" if delivered else "bad",
    )  # fmt: skip
