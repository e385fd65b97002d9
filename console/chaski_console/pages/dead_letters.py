"""The search for dead letters and its results."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from chaski_console import formatting
from chaski_console.data.search import WINDOWS, Search
from chaski_console.pages.dead_letter import REASONS, PageContext, dead_letter_path, selection_value
from chaski_console.pages.layout import Chip, Frame, class_chip
from chaski_console.pages.rendering import Html, render
from chaski_core.dead_letter import DeadLetter
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_core.timestamps import short_time

_CLASSES = ("connection", "timeout", "tls", "refused", "3xx", "4xx", "5xx")
_MAX_UNREADABLE = 10


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found."""

    dead_letters: Sequence[DeadLetter]
    more: bool = False  # there is a next page
    timed_out: bool = False
    error: str = ""  # why the search is invalid


@dataclass(frozen=True, slots=True)
class TextField:
    """A text field of the search form."""

    name: str
    label: str
    value: str
    hint: str
    choices: tuple[str, ...] = ()  # suggestions


@dataclass(frozen=True, slots=True)
class SelectField:
    """A field of the search form with fixed values."""

    name: str
    label: str
    value: str
    options: tuple[tuple[str, str], ...]  # value and label


@dataclass(frozen=True, slots=True)
class RowView:
    """A dead letter in the list."""

    selection: str
    path: str
    ago: str
    at: str
    datetime: str  # for machines
    id: str
    subject: str
    route: str
    target: str
    error_class: Chip
    reason: str
    explanation: str
    replayed: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class ReplayAll:
    """How to replay everything that a search finds, beyond the page."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class ResultsView:
    """What a search found, on this page."""

    rows: tuple[RowView, ...]
    timed_out: bool
    period: str  # the searched period in words; "" for all time
    all_time_path: str
    next_path: str  # "" on the last page
    back: str  # path of this page
    token: str
    may_act: bool
    replay_all: ReplayAll | None


def dead_letters_page(search: Search, result: SearchResult, routes: Sequence[str], context: PageContext) -> Html:
    """The search form and the results."""
    return render(
        "dead_letters.html",
        page=Frame("Dead letters", "/dead-letters", context.user),
        result=context.result,
        stale_reason=context.stale_reason,
        unreadable=context.unreadable[:_MAX_UNREADABLE],
        more_unreadable=max(0, len(context.unreadable) - _MAX_UNREADABLE),
        selects=select_fields(search, routes),
        fields=text_fields(search),
        error=result.error,
        results=results_view(search, result, context),
    )


def text_fields(search: Search) -> dict[str, TextField]:
    """The text fields of the search form, by name."""
    fields = (
        TextField("since", "From", search.since, "2h, or 2026-11-24T10:00Z"),
        TextField("until", "To", search.until, "now"),
        TextField("subject", "Subject", search.subject, "exact match"),
        TextField("target", "Target", search.target, "name of an allow rule"),
        TextField("class", "Error class", search.error_class, "5xx, 404, timeout", _CLASSES),
        TextField("text", "Text", search.text, "anywhere in the message"),
    )
    return {field.name: field for field in fields}


def select_fields(search: Search, routes: Sequence[str]) -> dict[str, SelectField]:
    """The other fields of the search form, by name."""
    fields = (
        _select("window", "When", search.window, list(WINDOWS.items())),
        _select("route", "Route", search.route, [("", "all"), *((key, key) for key in routes)]),
    )
    return {field.name: field for field in fields}


def results_view(search: Search, result: SearchResult, context: PageContext) -> ResultsView:
    """The view of what a search found."""
    next_query = search.next_page(list(result.dead_letters)).query() if result.more else ""
    return ResultsView(
        rows=tuple(_row(each, context.now_ms) for each in result.dead_letters),
        timed_out=result.timed_out,
        period=search.period,
        all_time_path=f"/dead-letters?{search.all_time().query()}",
        next_path=f"/dead-letters?{next_query}" if next_query else "",
        back=f"/dead-letters?{search.query()}",
        token=context.form_token,
        may_act=context.may_act,
        replay_all=_replay_all(search, context) if context.may_act else None,
    )


def _select(name: str, label: str, value: str, options: list[tuple[str, str]]) -> SelectField:
    if value and value not in {each for each, _ in options}:
        options = [*options, (value, value)]
    return SelectField(name, label, value, tuple(options))


def _row(dead_letter: DeadLetter, now_ms: int) -> RowView:
    timestamp = short_time(dead_letter.dead_lettered_at)
    return RowView(
        selection=selection_value(dead_letter),
        path=dead_letter_path(dead_letter),
        ago=formatting.ago(dead_letter.dead_lettered_at, now_ms),
        at=timestamp,
        datetime=timestamp.replace(" ", "T"),
        id=dead_letter.id,
        subject=dead_letter.subject,
        route=dead_letter.route,
        target=dead_letter.target,
        error_class=class_chip(dead_letter.error_class),
        reason=dead_letter.reason.value,
        explanation=REASONS[dead_letter.reason],
        replayed=dead_letter.replay is not None,
        attempts=dead_letter.attempts,
    )


def _replay_all(search: Search, context: PageContext) -> ReplayAll | None:
    if context.in_cluster:
        return _replay_resource(search)
    if not context.replay_command:
        return None
    command = f"{shlex.join([*context.replay_command, *search.flags()])} --dry-run"
    return ReplayAll(
        "This command replays everything that the search finds, in order. With --dry-run it only counts:", command
    )


def _replay_resource(search: Search) -> ReplayAll:
    namespace, _, name = search.route.partition("/")
    if not name:
        return ReplayAll("Choose a route to get the ChaskiReplay that replays everything that the search finds.")
    document = {
        "apiVersion": GROUP_VERSION,
        "kind": "ChaskiReplay",
        "metadata": {"generateName": "replay-", "namespace": namespace},
        "spec": {"routeRef": {"name": name}, "filter": search.filter_fields(), "dryRun": True},
    }
    # JSON is YAML too, and escapes line breaks, so no value can end the here-document.
    command = f"kubectl create -f - <<'END'\n{json.dumps(document, indent=2)}\nEND"
    return ReplayAll(
        "This ChaskiReplay replays everything that the search finds, in order. With dryRun it only counts:", command
    )
