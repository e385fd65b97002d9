"""One message's history, and what is said where there is nothing to show."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote

from chaski_console import formatting
from chaski_console.data.views import History
from chaski_console.html import Markup, el
from chaski_console.pages.dead_letters import kind_of
from chaski_console.pages.layout import NOBODY, CurrentUser, chip, fact, notice, page, plain
from chaski_core.ports import AttemptEntry

_STATES = {"pending": "warn", "delivered": "good", "dead-lettered": "bad"}


def history_page(asked: str, histories: Sequence[History], dead: AbstractSet[str], who: CurrentUser) -> Markup:
    """What became of the messages of an identity or of a label, attempt by attempt.

    Args:
        asked: the identity or the label.
        histories: one for each message, oldest first; at least one.
        dead: identities of which there is a dead letter.
        who: for whom the page is.
    """
    only = histories[0] if len(histories) == 1 else None
    return page(
        asked,
        "/messages",
        el(
            "div",
            el("h1", el("span", "Message ", class_="faint"), plain(asked)),
            _state(only) if only else el("span", f"{len(histories)} messages", class_="faint"),
            _given_up(only) if only and only.message_id in dead else None,
            class_="title",
        ),
        [_history(each, dead, alone=only is not None) for each in histories],
        who=who,
    )


def _history(history: History, dead: AbstractSet[str], *, alone: bool) -> Markup:
    longest = max((entry.duration_ms for entry in history.attempts), default=0.0)
    facts = [
        *fact("message", plain(history.message_id)),
        *fact("id", plain(history.id)),
        *(fact("replay of", plain(history.replay_of)) if history.replay_of is not None else ()),
        *fact("subject", plain(history.subject)),
        *fact("attempts", len(history.attempts)),
    ]
    return el(
        "article",
        None
        if alone
        else el("div", _state(history), _given_up(history) if history.message_id in dead else None, class_="title"),
        el("dl", facts, class_="facts"),
        el("ol", [_attempt(entry, longest) for entry in history.attempts], class_="attempts")
        if history.attempts
        else notice("info", "No attempt is noted down here; each is a line in the workers' log."),
        class_="card whole",
    )


def _state(history: History) -> Markup:
    return chip(history.state, _STATES.get(history.state, ""))


def _given_up(history: History) -> Markup:
    return el("a", "Dead letter", href=f"/dead-letters/{quote(history.message_id, safe='')}", class_="more")


def _attempt(entry: AttemptEntry, longest: float) -> Markup:
    good = entry.outcome == "delivered"
    answer = str(entry.status) if entry.status is not None else entry.error_class or entry.outcome
    return el(
        "li",
        el("span", entry.number, class_="step"),
        el(
            "div",
            el(
                "div",
                chip(answer, "good" if good else kind_of(entry.error_class)),
                el("strong", entry.outcome),
                el("span", f"{entry.stage} attempt" if entry.stage == "first" else "retry", class_="faint"),
                el("time", formatting.moment(entry.at)),
                class_="line",
            ),
            el(
                "div",
                el("progress", value=f"{entry.duration_ms:.0f}", max=f"{longest or 1:.0f}", aria_label="how long it took"),
                el("span", f"{entry.duration_ms:,.0f} ms"),
                class_="took",
            ),
            el("p", plain(entry.detail)) if entry.detail and not good else None,
        ),
        class_="good" if good else "bad",
    )  # fmt: skip


def wrong_page(title: str, sentence: str, who: CurrentUser = NOBODY) -> Markup:
    """A page for what is not there, or may not be."""
    return page(title, "", el("div", el("h1", title), class_="title"), notice("bad", sentence), who=who)
