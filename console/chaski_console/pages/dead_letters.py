"""Dead letters: the search, what it found, and one of them whole."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from chaski_console import formatting
from chaski_console.data.search import WINDOWS, Search
from chaski_console.html import Markup, el
from chaski_console.pages.layout import CurrentUser, chip, fact, notice, page, plain
from chaski_core import json_codec
from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.outcome import class_of_key
from chaski_core.route.validation.crd import GROUP_VERSION

_CLASSES = ("connection", "timeout", "tls", "refused", "3xx", "4xx", "5xx")
_MAX_MISSING = 10
_MAX_DOCUMENT_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought."""

    letters: Sequence[DeadLetter]
    more: bool = False  # there are others after these
    cut: bool = False  # it was stopped for the time that it took
    fault: str = ""  # why nothing was searched


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks, and what they may do."""

    who: CurrentUser
    token: str
    may_act: bool
    now_ms: int
    command: tuple[str, ...] = ()  # as in `Sources`
    in_cluster: bool = False  # the same
    done: str = ""  # what was just done, in a sentence
    missing: tuple[str, ...] = ()  # routes whose letters could not be read, each with the reason
    trouble: str = ""  # why there may be other routes by now


def letters_page(search: Search, found: Found, routes: Sequence[str], reader: Reader) -> Markup:
    """The search and its results."""
    return page(
        "Dead letters",
        "/dead-letters",
        el("div", el("h1", "Dead letters"), class_="title"),
        notice("good", reader.done) if reader.done else None,
        notice("bad", reader.trouble) if reader.trouble else None,
        _form(search, routes),
        _missing(reader) if reader.missing else None,
        notice("bad", found.fault) if found.fault else _results(search, found, reader),
        who=reader.who,
    )


def _missing(reader: Reader) -> Markup:
    shown = [el("li", plain(each)) for each in reader.missing[:_MAX_MISSING]]
    more = len(reader.missing) - len(shown)
    return el(
        "div",
        "What was given up on these routes can't be read now, and is left out:",
        el("ul", shown, el("li", f"and {more} more") if more else None, class_="plain"),
        class_="notice bad",
        role="alert",
    )


def letter_page(letters: Sequence[DeadLetter], reader: Reader) -> Markup:
    """Every dead letter of one message: there is more than one where a replay failed too."""
    first = letters[0]
    return page(
        first.id,
        "/dead-letters",
        el(
            "div",
            el("h1", el("span", "Dead letter ", class_="faint"), plain(first.id)),
            el("a", "History", href=f"/messages/{quote(first.id, safe='')}", class_="more"),
            class_="title",
        ),
        notice("good", reader.done) if reader.done else None,
        [_whole(letter, reader) for letter in reversed(letters)],
        who=reader.who,
    )


def confirm_page(letters: Sequence[DeadLetter], back: str, reader: Reader) -> Markup:
    """Asks before dead letters are dropped for good."""
    count = f"{len(letters)} dead letters" if len(letters) != 1 else "this dead letter"
    return page(
        "Discard",
        "/dead-letters",
        el("div", el("h1", f"Discard {count}?"), class_="title"),
        notice("bad", "They are dropped for good: they can be neither shown nor sent again."),
        el("ul", [el("li", plain(letter.id), " of ", plain(letter.subject)) for letter in letters], class_="plain"),
        el(
            "form",
            _hidden(letters, back, reader),
            el("input", type="hidden", name="confirmed", value="yes"),
            el("button", "Discard for good", class_="danger", name="action", value="discard"),
            el("a", "Cancel", href=back, class_="button"),
            method="post",
            action="/dead-letters",
            class_="actions",
        ),
        who=reader.who,
    )


# ---- the search


def _form(search: Search, routes: Sequence[str]) -> Markup:
    return el(
        "form",
        _select("window", "When", search.window, list(WINDOWS.items())),
        _field("since", "From", search.since, "2h, or 2026-11-24T10:00Z"),
        _field("until", "To", search.until, "now"),
        _select("route", "Route", search.route, [("", "all"), *((key, key) for key in routes)]),
        _field("subject", "Subject", search.subject, "exactly"),
        _field("target", "Target", search.target, "name of the rule"),
        _field("class", "Error class", search.error_class, "5xx, 404, timeout", choices=_CLASSES),
        _field("text", "Text", search.text, "anywhere in the message"),
        el("div", el("button", "Search", class_="primary"), el("a", "Clear", href="/dead-letters", class_="button"), class_="actions"),
        method="get",
        action="/dead-letters",
        class_="search",
        role="search",
        aria_label="Dead letters",
    )  # fmt: skip


def _field(name: str, label: str, value: str, hint: str, choices: Sequence[str] = ()) -> Markup:
    given = el(
        "input", id=f"f-{name}", name=name, value=value, placeholder=hint, maxlength=1024, autocomplete="off",
        spellcheck="false", list=f"l-{name}" if choices else None,
    )  # fmt: skip
    listed = el("datalist", [el("option", value=each) for each in choices], id=f"l-{name}") if choices else None
    return el("div", el("label", label, for_=f"f-{name}"), given, listed, class_="field")


def _select(name: str, label: str, value: str, options: Sequence[tuple[str, str]]) -> Markup:
    if value and value not in {each for each, _ in options}:
        options = [*options, (value, value)]
    made = [el("option", shown, value=each, selected=each == value) for each, shown in options]
    return el(
        "div", el("label", label, for_=f"f-{name}"), el("select", made, id=f"f-{name}", name=name), class_="field"
    )


# ---- what it found


def _results(search: Search, found: Found, reader: Reader) -> Markup:
    if not found.letters and not found.cut:
        return el("div", el("p", "Nothing was given up that matches."), class_="nothing")
    here = f"/dead-letters?{search.query()}"
    heads = ["given up", "id", "subject", "route", "target", "error", "reason", "attempts"]
    boxes = reader.may_act
    pick_all = el("input", type="checkbox", data_all=True, aria_label="Select all on this page")
    head = el("tr", el("th", pick_all) if boxes else None, [el("th", each, scope="col") for each in heads])
    table = el(
        "div",
        el(
            "table",
            el("thead", head),
            el("tbody", [_row(letter, reader) for letter in found.letters]),
            class_="letters",
        ),
        class_="scroll",
    )
    cut = notice("info", "The search was stopped after a few seconds: choose a shorter time, a subject or a target.")
    more = el("a", "Next page", href=f"/dead-letters?{search.next_page(list(found.letters)).query()}", class_="button")
    return el(
        "form",
        cut if found.cut else None,
        table,
        el(
            "div",
            _buttons(selected=True) if boxes else None,
            more if found.more else None,
            el("span", f"{len(found.letters)} shown, oldest first", class_="faint"),
            class_="actions",
        ),
        _by_command(search, reader) if boxes and (reader.command or reader.in_cluster) else None,
        el("input", type="hidden", name="token", value=reader.token),
        el("input", type="hidden", name="back", value=here),
        method="post",
        action="/dead-letters",
    )


def _by_resource(search: Search) -> Markup:
    namespace, _, name = search.route.partition("/")
    if not name:
        ask = el(
            "p", "Choose a route: this then gives the ChaskiReplay that sends again everything that a search finds."
        )
        return el("details", el("summary", "All that match"), ask, class_="all")
    document = {
        "apiVersion": GROUP_VERSION,
        "kind": "ChaskiReplay",
        "metadata": {"generateName": "replay-", "namespace": namespace},
        "spec": {"routeRef": {"name": name}, "filter": search.given(), "dryRun": True},
    }
    # JSON is YAML too, and no value can end it: in it a line break is written as two characters.
    shown = f"kubectl create -f - <<'END'\n{json.dumps(document, indent=2)}\nEND"
    told = "Send again everything that this search finds, in order; with dryRun it only counts:"
    return el("details", el("summary", "All that match"), el("p", told), el("pre", shown), class_="all")


def _by_command(search: Search, reader: Reader) -> Markup:
    if reader.in_cluster:
        return _by_resource(search)
    line = shlex.join([*reader.command, *search.flags()])
    told = "Send again everything that this search finds, in order, at a rate, with a dry run first:"
    return el("details", el("summary", "All that match"), el("p", told), el("pre", f"{line} --dry-run"), class_="all")


def _row(letter: DeadLetter, reader: Reader) -> Markup:
    at = el(
        "time", formatting.ago(letter.dead_lettered_at, reader.now_ms), title=formatting.moment(letter.dead_lettered_at),
        datetime=formatting.moment(letter.dead_lettered_at).replace(" ", "T"),
    )  # fmt: skip
    pick = el("input", type="checkbox", name="id", value=_picked(letter), aria_label=f"Select {letter.id}")
    return el(
        "tr",
        el("td", pick) if reader.may_act else None,
        el("td", at),
        el("td", el("a", plain(letter.id), href=_address(letter), class_="code")),
        el("td", plain(letter.subject), class_="long"),
        el("td", plain(letter.route)),
        el("td", plain(letter.target)),
        el("td", _class_chip(letter)),
        el("td", letter.reason.value, [" ", chip("sent again", "good")] if letter.replay else None),
        el("td", letter.attempts, class_="number"),
    )


def _whole(letter: DeadLetter, reader: Reader) -> Markup:
    facts = [
        *fact("given up", formatting.moment(letter.dead_lettered_at), el("span", f" · {formatting.ago(letter.dead_lettered_at, reader.now_ms)}", class_="faint")),
        *fact("reason", letter.reason.value, f": {letter.detail}" if letter.detail else None),
        *fact("error", _class_chip(letter)),
        *fact("route", plain(letter.route)),
        *fact("message", plain(letter.message_id)),
        *fact("id", plain(letter.id)),
        *(fact("replay of", plain(letter.replay_of)) if letter.replay_of is not None else ()),
        *fact("subject", plain(letter.subject)),
        *fact("target", plain(letter.target), el("span", " ", plain(letter.url), class_="faint")),
        *fact("attempts", letter.attempts),
        *(fact("sent again", formatting.moment(letter.replay.at), f" by {letter.replay.run}") if letter.replay else ()),
    ]  # fmt: skip
    return el(
        "article",
        el("dl", facts, class_="facts"),
        _errors(letter),
        el("h2", "Message"),
        _document(letter),
        _act_on(letter, reader) if reader.may_act else None,
        class_="card whole",
    )


def _errors(letter: DeadLetter) -> Markup | None:
    if not letter.errors:
        return None
    items = [
        el(
            "li",
            el("div", chip(note.key, kind_of(note.key)), el("time", formatting.moment(note.at)), plain(note.detail), class_="line"),
            el("pre", note.excerpt) if note.excerpt else None,
        )
        for note in letter.errors
    ]  # fmt: skip
    return el("section", el("h2", "Errors met"), el("ol", items, class_="errors"))


def _document(letter: DeadLetter) -> Markup:
    if letter.envelope is None:
        shown = (letter.raw or b"").decode("utf-8", "backslashreplace")
    else:
        shown = json_codec.dumps(letter.envelope, indented=True).decode()
    cut = len(shown) > _MAX_DOCUMENT_CHARACTERS
    return el("pre", shown[:_MAX_DOCUMENT_CHARACTERS], " …" if cut else None, class_="document", tabindex=0)


def _act_on(letter: DeadLetter, reader: Reader) -> Markup:
    return el(
        "form",
        _hidden([letter], _address(letter), reader),
        _buttons(selected=False),
        method="post",
        action="/dead-letters",
        class_="actions",
    )


def _buttons(*, selected: bool) -> list[Markup]:
    which = " selected" if selected else ""
    return [
        el("button", f"Replay{which}", class_="primary", name="action", value="replay", data_needs_selection=selected),
        el("button", f"Discard{which} …", name="action", value="discard", data_needs_selection=selected),
    ]


def _hidden(letters: Sequence[DeadLetter], back: str, reader: Reader) -> list[Markup]:
    values = [
        ("token", reader.token),
        ("back", back),
        *(("id", each) for each in dict.fromkeys(map(_picked, letters))),
    ]
    return [el("input", type="hidden", name=name, value=value) for name, value in values]


def _picked(letter: DeadLetter) -> str:
    """What a form sends for a letter: ids are made by producers, so two routes may have the same."""
    return f"{letter.route} {letter.message_id}"


def _address(letter: DeadLetter) -> str:
    return f"/dead-letters/{quote(letter.message_id, safe='')}"


def _class_chip(letter: DeadLetter) -> Markup:
    return chip(letter.error_class or "none", kind_of(letter.error_class))


def kind_of(key: str) -> str:
    """The colour of an error class."""
    return {"4xx": "warn", "3xx": "warn", "": ""}.get(class_of_key(key) if key else "", "bad")
