"""One message's history, and what is said where there is nothing to show."""

from collections.abc import Sequence
from urllib.parse import quote

from chaski_console import said
from chaski_console.html import Markup, el
from chaski_console.pages.letters import kind_of
from chaski_console.pages.shell import NOBODY, Who, chip, fact, notice, page, plain
from chaski_console.views import History
from chaski_core.deadletter import DeadLetter
from chaski_core.ports import AttemptEntry

_STATES = {"pending": "warn", "delivered": "good", "dead-lettered": "bad"}


def history_page(history: History, letters: Sequence[DeadLetter], who: Who) -> Markup:
    """What became of a message, attempt by attempt."""
    given_up = el("a", "Dead letter", href=f"/dead-letters/{quote(history.id, safe='')}", class_="more")
    longest = max((entry.duration_ms for entry in history.attempts), default=0.0)
    return page(
        history.id,
        "/messages",
        el(
            "div",
            el("h1", el("span", "Message ", class_="faint"), plain(history.id)),
            chip(history.state, _STATES.get(history.state, "")),
            given_up if letters else None,
            class_="title",
        ),
        el(
            "article",
            el("dl", fact("subject", plain(history.subject)), fact("attempts", len(history.attempts)), class_="facts"),
            el("ol", [_attempt(entry, longest) for entry in history.attempts], class_="attempts")
            if history.attempts
            else notice("info", "No attempt is noted down here; each is a line in the workers' log."),
            class_="card whole",
        ),
        who=who,
    )


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
                el("time", said.moment(entry.at)),
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


def wrong_page(title: str, sentence: str, who: Who = NOBODY) -> Markup:
    """A page for what is not there, or may not be."""
    return page(title, "", el("div", el("h1", title), class_="title"), notice("bad", sentence), who=who)
