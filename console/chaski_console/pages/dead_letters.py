"""The search for dead letters and its results."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from chaski_console import formatting
from chaski_console.data.search import WINDOWS, Search
from chaski_console.html import Markup, el
from chaski_console.pages.dead_letter import (
    REASONS,
    PageContext,
    action_buttons,
    class_chip,
    dead_letter_path,
    selection_value,
)
from chaski_console.pages.layout import chip, isolated, notice, page
from chaski_core.dead_letter import DeadLetter
from chaski_core.route.validation.crd import GROUP_VERSION

_CLASSES = ("connection", "timeout", "tls", "refused", "3xx", "4xx", "5xx")
_COLUMNS = ("dead-lettered", "ID", "subject", "route", "target", "error class", "reason", "attempts")
_MAX_UNREADABLE = 10


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found."""

    dead_letters: Sequence[DeadLetter]
    more: bool = False  # there is a next page
    timed_out: bool = False
    error: str = ""  # why the search is invalid


def dead_letters_page(search: Search, result: SearchResult, routes: Sequence[str], context: PageContext) -> Markup:
    """The search form and the results."""
    return page(
        "Dead letters",
        "/dead-letters",
        el("div", el("h1", "Dead letters"), class_="title"),
        notice("good", context.result) if context.result else None,
        notice("bad", context.stale_reason) if context.stale_reason else None,
        _form(search, routes),
        _unreadable(context) if context.unreadable else None,
        notice("bad", result.error) if result.error else _results(search, result, context),
        user=context.user,
    )


def _unreadable(context: PageContext) -> Markup:
    shown = [el("li", isolated(each)) for each in context.unreadable[:_MAX_UNREADABLE]]
    more = len(context.unreadable) - len(shown)
    return el(
        "div",
        "Dead letters of these routes can't be read now and are missing below:",
        el("ul", shown, el("li", f"and {more} more") if more else None, class_="plain"),
        class_="notice bad",
        role="alert",
    )


# ---- the search form


def _form(search: Search, routes: Sequence[str]) -> Markup:
    return el(
        "form",
        _select("window", "When", search.window, list(WINDOWS.items())),
        _field("since", "From", search.since, "2h, or 2026-11-24T10:00Z"),
        _field("until", "To", search.until, "now"),
        _select("route", "Route", search.route, [("", "all"), *((key, key) for key in routes)]),
        _field("subject", "Subject", search.subject, "exact match"),
        _field("target", "Target", search.target, "name of an allow rule"),
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
    control = el(
        "input", id=f"f-{name}", name=name, value=value, placeholder=hint, maxlength=1024, autocomplete="off",
        spellcheck="false", list=f"l-{name}" if choices else None,
    )  # fmt: skip
    suggestions = el("datalist", [el("option", value=each) for each in choices], id=f"l-{name}") if choices else None
    return el("div", el("label", label, for_=f"f-{name}"), control, suggestions, class_="field")


def _select(name: str, label: str, value: str, options: Sequence[tuple[str, str]]) -> Markup:
    if value and value not in {each for each, _ in options}:
        options = [*options, (value, value)]
    items = [el("option", shown, value=each, selected=each == value) for each, shown in options]
    control = el("select", items, id=f"f-{name}", name=name)
    return el("div", el("label", label, for_=f"f-{name}"), control, class_="field")


# ---- the results


def _results(search: Search, result: SearchResult, context: PageContext) -> Markup:
    if not result.dead_letters and not result.timed_out:
        return _empty(search)
    timed_out = notice(
        "info", "The search was stopped after a few seconds. Choose a shorter time, a subject or a target."
    )
    next_page = f"/dead-letters?{search.next_page(list(result.dead_letters)).query()}" if result.more else ""
    return el(
        "form",
        timed_out if result.timed_out else None,
        _table(result, context),
        el(
            "div",
            action_buttons(selected=True) if context.may_act else None,
            el("a", "Next page", href=next_page, class_="button") if next_page else None,
            el("span", f"{len(result.dead_letters)} shown, oldest first", class_="faint"),
            class_="actions",
        ),
        _replay_all(search, context) if context.may_act else None,
        el("input", type="hidden", name="token", value=context.form_token),
        el("input", type="hidden", name="back", value=f"/dead-letters?{search.query()}"),
        method="post",
        action="/dead-letters",
    )


def _empty(search: Search) -> Markup:
    if not search.period:
        return el("div", el("p", "No dead letters match."), class_="empty")
    all_time = el("a", "Search all time", href=f"/dead-letters?{search.all_time().query()}")
    return el("div", el("p", f"No dead letters match {search.period}."), el("p", all_time), class_="empty")


def _table(result: SearchResult, context: PageContext) -> Markup:
    select_all = el("input", type="checkbox", data_all=True, aria_label="Select all on this page")
    head = el(
        "tr",
        el("th", select_all) if context.may_act else None,
        [el("th", each, scope="col") for each in _COLUMNS],
    )
    rows = [_row(each, context) for each in result.dead_letters]
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="dead-letters"), class_="scroll")


def _row(dead_letter: DeadLetter, context: PageContext) -> Markup:
    timestamp = formatting.timestamp(dead_letter.dead_lettered_at)
    age = formatting.ago(dead_letter.dead_lettered_at, context.now_ms)
    select = el(
        "input", type="checkbox", name="id", value=selection_value(dead_letter), aria_label=f"Select {dead_letter.id}"
    )
    replayed = [" ", chip("replayed", "good")] if dead_letter.replay else None
    return el(
        "tr",
        el("td", select) if context.may_act else None,
        el("td", el("time", age, title=timestamp, datetime=timestamp.replace(" ", "T"))),
        el("td", el("a", isolated(dead_letter.id), href=dead_letter_path(dead_letter), class_="code")),
        el("td", isolated(dead_letter.subject), class_="long"),
        el("td", isolated(dead_letter.route)),
        el("td", isolated(dead_letter.target)),
        el("td", class_chip(dead_letter)),
        el("td", el("span", dead_letter.reason.value, title=REASONS[dead_letter.reason]), replayed),
        el("td", dead_letter.attempts, class_="number"),
    )


def _replay_all(search: Search, context: PageContext) -> Markup | None:
    """How to replay everything that the search finds, beyond this page."""
    if context.in_cluster:
        return _details(*_replay_resource(search))
    if not context.replay_command:
        return None
    command = f"{shlex.join([*context.replay_command, *search.flags()])} --dry-run"
    return _details(
        "This command replays everything that the search finds, in order. With --dry-run it only counts:", command
    )


def _replay_resource(search: Search) -> tuple[str, str]:
    namespace, _, name = search.route.partition("/")
    if not name:
        return "Choose a route to get the ChaskiReplay that replays everything that the search finds.", ""
    document = {
        "apiVersion": GROUP_VERSION,
        "kind": "ChaskiReplay",
        "metadata": {"generateName": "replay-", "namespace": namespace},
        "spec": {"routeRef": {"name": name}, "filter": search.filter_fields(), "dryRun": True},
    }
    # JSON is YAML too, and escapes line breaks, so no value can end the here-document.
    command = f"kubectl create -f - <<'END'\n{json.dumps(document, indent=2)}\nEND"
    return "This ChaskiReplay replays everything that the search finds, in order. With dryRun it only counts:", command


def _details(text: str, command: str) -> Markup:
    shown = el("pre", command) if command else None
    return el("details", el("summary", "Replay all that match"), el("p", text), shown, class_="all")
