"""The routes page. It is rendered once; afterwards only texts and chart lines change, by the keys of their elements."""

import hashlib
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from chaski_console import formatting
from chaski_console.data.live_updates import KEPT_UPDATES, StatusUpdate
from chaski_console.data.views import QueueView, RouteView
from chaski_console.html import Markup, el
from chaski_console.pages.layout import CurrentUser, chip, isolated, notice, page

_WIDTH, _HEIGHT = 300, 44
_OLD_SECONDS = 300  # an older oldest message is highlighted
_FAILING_SHARE = 0.2  # a larger share of failing attempts is highlighted
_COLUMNS = (("queue", False), ("waiting", True), ("in flight", True), ("delayed", True), ("oldest", True))
_CAPTIONS = {
    "accepted": "accepted /s",
    "delivered": "delivered /s",
    "failing": "failing attempts",
    "backlog": "backlog",
    "oldest": "oldest message",
    "dead letters": "dead letters /min",
}


def routes_page(update: StatusUpdate, user: CurrentUser) -> Markup:
    """The status of all routes."""
    cards = [_card(view, update) for view in update.routes]
    live = el("span", "live", class_="live", data_live=layout_hash(update), title="Updated every two seconds")
    return page(
        "Routes",
        "/",
        el("div", el("h1", "Routes"), live, class_="title"),
        notice("bad", el("span", update.stale_reason, data_key="stale")) if update.stale_reason else None,
        el("div", cards, class_="cards") if cards else None,
        notice("info", "There are no routes yet.") if not cards and not update.stale_reason else None,
        user=user,
    )


def layout_hash(update: StatusUpdate) -> str:
    """Changes when an open page has to be rendered again: routes or queues were added or removed."""
    parts = [
        f"{view.key}\0{view.suspended}\0{view.unserved_reason}\0{[queue.name for queue in _queues(view)]}"
        for view in update.routes
    ]
    parts.append(str(bool(update.stale_reason)))
    return hashlib.sha256("\1".join(parts).encode()).hexdigest()[:12]


def element_values(update: StatusUpdate) -> dict[str, str]:
    """The current text or path of each element of an open page, by key; a key with `!` holds the element's class."""
    values: dict[str, str] = {"stale": update.stale_reason} if update.stale_reason else {}
    for view in update.routes:
        if view.unserved_reason:
            continue
        values |= {f"{view.key} {name}": value for name, (value, _) in _figures(view).items()}
        values |= {f"{view.key} {name}!": "bad" if bad else "" for name, (_, bad) in _figures(view).items()}
        backlogs = update.backlogs.get(view.key, ())
        values[f"{view.key} ~"] = chart_path(backlogs)
        values[f"{view.key} ~~"] = chart_path(backlogs, filled=True)
        values[f"{view.key} max"] = _maximum(backlogs)
        for queue in _queues(view):
            values |= {f"{view.key} {queue.name} {name}": value for name, value in _cells(queue).items()}
    return values


def chart_path(backlogs: Sequence[int | None], *, filled: bool = False) -> str:
    """The SVG path of a chart of backlogs, newest at the right edge; unknown values leave gaps.

    `filled`: the area below the line instead of the line.
    """
    top = max((number for number in backlogs if number is not None), default=0) or 1
    step = _WIDTH / (KEPT_UPDATES - 1)
    left = _WIDTH - step * (len(backlogs) - 1)
    segments: list[list[str]] = [[]]
    for index, number in enumerate(backlogs):
        if number is None:
            segments.append([])
        else:
            height = _HEIGHT - 3 - (_HEIGHT - 6) * number / top
            segments[-1].append(f"{left + index * step:.1f} {height:.1f}")
    return " ".join(_segment_path(points, filled=filled) for points in segments if points) or "M0 0"


def _segment_path(points: Sequence[str], *, filled: bool) -> str:
    line = "L".join(points)
    if not filled:
        return f"M{line}"
    first, last = points[0].partition(" ")[0], points[-1].partition(" ")[0]
    return f"M{first} {_HEIGHT}L{line}L{last} {_HEIGHT}Z"


def _maximum(backlogs: Sequence[int | None]) -> str:
    return formatting.count(max((number for number in backlogs if number is not None), default=None))


def _figures(view: RouteView) -> dict[str, tuple[str, bool]]:
    """Text of each figure, and whether it is highlighted."""
    rates, age = view.rates, view.oldest_age_seconds
    failing = rates.failing if rates else None
    dead_letters_per_minute = rates.dead_letters * 60 if rates else None
    return {
        "accepted": (formatting.rate(rates.accepted if rates else None), False),
        "delivered": (formatting.rate(rates.delivered if rates else None), False),
        "failing": (formatting.percentage(failing), failing is not None and failing > _FAILING_SHARE),
        "backlog": (formatting.count(view.backlog), False),
        "oldest": (formatting.duration(age), age is not None and age > _OLD_SECONDS),
        "dead letters": (formatting.rate(dead_letters_per_minute), bool(dead_letters_per_minute)),
    }


def _card(view: RouteView, update: StatusUpdate) -> Markup:
    label = f"Route {view.key}"
    if view.unserved_reason:
        return el("article", _head(view), notice("info", view.unserved_reason), class_="card", aria_label=label)
    figures = [
        el(
            "div",
            el("dt", _CAPTIONS[figure]),
            el("dd", value, class_="bad" if bad else "", data_key=f"{view.key} {figure}"),
        )
        for figure, (value, bad) in _figures(view).items()
    ]
    return el(
        "article",
        _head(view),
        el("dl", figures, class_="figures"),
        _chart(view, update),
        _table(view),
        class_="card",
        aria_label=label,
    )


def _head(view: RouteView) -> Markup:
    namespace, _, name = view.key.partition("/")
    dead_letters = el("a", "Dead letters", href=f"/dead-letters?{urlencode({'route': view.key})}", class_="more")
    return el(
        "header",
        el("h2", el("span", f"{namespace}/", class_="faint"), isolated(name)),
        chip(view.ordering) if view.ordering else None,
        chip("delivery suspended", "warn") if view.suspended else None,
        chip("not ready", "warn") if view.unserved_reason else dead_letters,
    )


def _chart(view: RouteView, update: StatusUpdate) -> Markup:
    backlogs = update.backlogs.get(view.key, ())
    return el(
        "figure",
        el(
            "svg",
            el("path", d=chart_path(backlogs, filled=True), class_="area", data_key=f"{view.key} ~~"),
            el("path", d=chart_path(backlogs), data_key=f"{view.key} ~"),
            viewbox=f"0 0 {_WIDTH} {_HEIGHT}",
            preserveaspectratio="none",
            role="img",
            aria_label="Backlog of the last five minutes",
        ),
        el(
            "figcaption",
            "backlog, last five minutes; maximum ",
            el("span", _maximum(backlogs), data_key=f"{view.key} max"),
        ),
    )


def _table(view: RouteView) -> Markup:
    heads = [el("th", head, scope="col", class_="number" if number else None) for head, number in _COLUMNS]
    rows = [_row(view, queue) for queue in _queues(view)]
    return el("div", el("table", el("thead", el("tr", heads)), el("tbody", rows)), class_="scroll")


def _row(view: RouteView, queue: QueueView) -> Markup:
    rung = el("span", " rung", class_="faint") if queue in view.rungs else None
    cells = [
        el("td", value, class_="number", data_key=f"{view.key} {queue.name} {name}")
        for name, value in _cells(queue).items()
    ]
    return el("tr", el("th", isolated(queue.name), rung, scope="row"), cells)


def _queues(view: RouteView) -> Iterator[QueueView]:
    yield from view.queues
    yield from view.rungs


def _cells(queue: QueueView) -> dict[str, str]:
    counts = queue.counts
    return {
        "visible": formatting.count(counts.visible if counts else None),
        "in_flight": formatting.count(counts.in_flight if counts else None),
        "delayed": formatting.count(counts.delayed if counts else None),
        "oldest": formatting.duration(queue.oldest_age_seconds) if counts and counts.total else formatting.UNKNOWN,
    }
