"""Routes, live. The page is made once; after that only texts and lines of the pictures change, by their keys."""

import hashlib
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from chaski_console import formatting
from chaski_console.data.live_updates import KEPT_READINGS, Reading
from chaski_console.data.views import QueueView, RouteView
from chaski_console.html import Markup, el
from chaski_console.pages.layout import CurrentUser, chip, notice, page, plain

_WIDTH, _HEIGHT = 300, 44
_SLOW_SECONDS = 300  # an oldest message beyond this is marked
_FAILING = 0.2  # a share beyond this is marked


def routes_page(reading: Reading, who: CurrentUser) -> Markup:
    """The whole page."""
    cards = [_card(view, reading) for view in reading.routes]
    return page(
        "Routes",
        "/",
        el(
            "div",
            el("h1", "Routes"),
            el("span", "live", class_="live", data_live=shape(reading), title="Figures are taken every two seconds"),
            class_="title",
        ),
        notice("bad", el("span", reading.trouble, data_key="trouble")) if reading.trouble else None,
        el("div", cards, class_="cards") if cards else notice("info", "There is no route yet."),
        who=who,
    )


def shape(reading: Reading) -> str:
    """Changes when the page has to be made anew: there are other routes or queues."""
    parts = [
        f"{view.key}\0{view.suspended}\0{view.trouble}\0{[line.name for line in _lines(view)]}"
        for view in reading.routes
    ]
    parts.append(str(bool(reading.trouble)))
    return hashlib.sha256("\1".join(parts).encode()).hexdigest()[:12]


def updates(reading: Reading) -> dict[str, str]:
    """What an open page has to show now, by the keys of its elements."""
    found: dict[str, str] = {"trouble": reading.trouble} if reading.trouble else {}
    for view in reading.routes:
        if view.trouble:
            continue
        found |= {f"{view.key} {name}": value for name, (value, _) in _figures(view).items()}
        found |= {f"{view.key} {name}!": "bad" if bad else "" for name, (_, bad) in _figures(view).items()}
        backlogs = reading.backlogs.get(view.key, ())
        found[f"{view.key} ~"] = line_of(backlogs)
        found[f"{view.key} ~~"] = line_of(backlogs, filled=True)
        found[f"{view.key} most"] = _most(backlogs)
        for line in _lines(view):
            found |= {f"{view.key} {line.name} {name}": value for name, value in _cells(line).items()}
    return found


def line_of(backlogs: Sequence[int | None], *, filled: bool = False) -> str:
    """The path of a picture of backlogs, the newest at the right edge; what is unknown leaves a gap.

    `filled`: the area below the line instead.
    """
    top = max((number for number in backlogs if number is not None), default=0) or 1
    step = _WIDTH / (KEPT_READINGS - 1)
    left = _WIDTH - step * (len(backlogs) - 1)
    stretches: list[list[str]] = [[]]
    for index, number in enumerate(backlogs):
        if number is None:
            stretches.append([])
        else:
            height = _HEIGHT - 3 - (_HEIGHT - 6) * number / top
            stretches[-1].append(f"{left + index * step:.1f} {height:.1f}")
    return " ".join(_drawn(points, filled=filled) for points in stretches if points) or "M0 0"


def _drawn(points: Sequence[str], *, filled: bool) -> str:
    line = "L".join(points)
    if not filled:
        return f"M{line}"
    first, last = points[0].partition(" ")[0], points[-1].partition(" ")[0]
    return f"M{first} {_HEIGHT}L{line}L{last} {_HEIGHT}Z"


def _most(backlogs: Sequence[int | None]) -> str:
    return formatting.count(max((number for number in backlogs if number is not None), default=None))


def _figures(view: RouteView) -> dict[str, tuple[str, bool]]:
    rates, age = view.rates, view.oldest_age_seconds
    failing = rates.failing if rates else None
    return {
        "accepted": (formatting.rate(rates.accepted if rates else None), False),
        "delivered": (formatting.rate(rates.delivered if rates else None), False),
        "failing": (formatting.share(failing), failing is not None and failing > _FAILING),
        "backlog": (formatting.count(view.backlog), False),
        "oldest": (formatting.span(age), age is not None and age > _SLOW_SECONDS),
        "given up": (formatting.rate(rates.dead_letters * 60 if rates else None), bool(rates and rates.dead_letters)),
    }


_CAPTIONS = {
    "accepted": "accepted /s",
    "delivered": "delivered /s",
    "failing": "attempts failing",
    "backlog": "backlog",
    "oldest": "oldest message",
    "given up": "given up /min",
}


def _card(view: RouteView, reading: Reading) -> Markup:
    if view.trouble:
        return el("article", _head(view), notice("info", view.trouble), class_="card", aria_label=f"Route {view.key}")
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
        _picture(view, reading),
        _table(view),
        class_="card",
        aria_label=f"Route {view.key}",
    )


def _head(view: RouteView) -> Markup:
    namespace, _, name = view.key.partition("/")
    letters = el("a", "Dead letters", href=f"/dead-letters?{urlencode({'route': view.key})}", class_="more")
    return el(
        "header",
        el("h2", el("span", f"{namespace}/", class_="faint"), plain(name)),
        chip(view.ordering) if view.ordering else None,
        chip("delivery suspended", "warn") if view.suspended else None,
        chip("not served", "warn") if view.trouble else letters,
    )


def _picture(view: RouteView, reading: Reading) -> Markup:
    backlogs = reading.backlogs.get(view.key, ())
    return el(
        "figure",
        el(
            "svg",
            el("path", d=line_of(backlogs, filled=True), class_="area", data_key=f"{view.key} ~~"),
            el("path", d=line_of(backlogs), data_key=f"{view.key} ~"),
            viewbox=f"0 0 {_WIDTH} {_HEIGHT}",
            preserveaspectratio="none",
            role="img",
            aria_label="Backlog of the last five minutes",
        ),
        el(
            "figcaption",
            "backlog, last five minutes; at most ",
            el("span", _most(backlogs), data_key=f"{view.key} most"),
        ),
    )


def _table(view: RouteView) -> Markup:
    heads = [el("th", head, scope="col", class_="number" if number else None) for head, number in _COLUMNS]
    rows = [
        el(
            "tr",
            el(
                "th", plain(line.name), el("span", " rung", class_="faint") if line in view.rungs else None, scope="row"
            ),
            [
                el("td", value, class_="number", data_key=f"{view.key} {line.name} {name}")
                for name, value in _cells(line).items()
            ],
        )
        for line in _lines(view)
    ]
    return el("div", el("table", el("thead", el("tr", heads)), el("tbody", rows)), class_="scroll")


_COLUMNS = (("queue", False), ("waiting", True), ("in flight", True), ("delayed", True), ("oldest", True))


def _lines(view: RouteView) -> Iterator[QueueView]:
    yield from view.queues
    yield from view.rungs


def _cells(line: QueueView) -> dict[str, str]:
    counts = line.counts
    return {
        "visible": formatting.count(counts.visible if counts else None),
        "in_flight": formatting.count(counts.in_flight if counts else None),
        "delayed": formatting.count(counts.delayed if counts else None),
        "oldest": formatting.span(line.oldest_age_seconds) if counts and counts.total else formatting.UNKNOWN,
    }
