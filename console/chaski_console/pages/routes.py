"""The routes page. It is rendered once; afterwards only texts and chart lines change, by the keys of their elements."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from chaski_console import formatting
from chaski_console.data.live_updates import KEPT_UPDATES, StatusUpdate
from chaski_console.data.views import QueueView, RouteView
from chaski_console.pages.layout import CurrentUser, Frame
from chaski_console.pages.rendering import Html, render

_WIDTH, _HEIGHT = 300, 44  # of a chart, as in routes.html
_OLD_SECONDS = 300  # an older oldest message is highlighted
_FAILING_SHARE = 0.2  # a larger share of failing attempts is highlighted


@dataclass(frozen=True, slots=True)
class Text:
    """The text of an element that changes while the page is open."""

    key: str  # of the element
    value: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a route."""

    caption: str
    text: Text
    colour: str  # bad or none


@dataclass(frozen=True, slots=True)
class ChartView:
    """The backlogs of the last minutes: SVG paths, and their maximum."""

    line: Text
    area: Text
    maximum: Text


@dataclass(frozen=True, slots=True)
class QueueRow:
    """The messages of a queue or rung."""

    name: str
    is_rung: bool
    cells: tuple[Text, ...]  # waiting, in flight, delayed, oldest


@dataclass(frozen=True, slots=True)
class RouteCard:
    """One route. Figures, chart and rows are absent if it is not served."""

    key: str
    namespace: str
    name: str
    ordering: str
    suspended: bool
    unserved_reason: str
    dead_letters_path: str
    figures: tuple[Figure, ...] = ()
    chart: ChartView | None = None
    rows: tuple[QueueRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutesView:
    """All routes."""

    layout: str  # `layout_hash`
    stale: Text | None  # why the list of routes may be outdated
    cards: tuple[RouteCard, ...]


def routes_page(update: StatusUpdate, user: CurrentUser) -> Html:
    """The status of all routes."""
    return render("routes.html", page=Frame("Routes", "/", user), view=routes_view(update))


def routes_view(update: StatusUpdate) -> RoutesView:
    """The view of a status."""
    stale = Text("stale", update.stale_reason) if update.stale_reason else None
    cards = tuple(_card(view, update.backlogs.get(view.key, ())) for view in update.routes)
    return RoutesView(layout_hash(update), stale, cards)


def layout_hash(update: StatusUpdate) -> str:
    """Changes when an open page has to be rendered again: routes or queues were added or removed."""
    parts = [
        f"{view.key}\0{view.suspended}\0{view.unserved_reason}\0{[each.name for each in (*view.queues, *view.rungs)]}"
        for view in update.routes
    ]
    parts.append(str(bool(update.stale_reason)))
    return hashlib.sha256("\1".join(parts).encode()).hexdigest()[:12]


def element_values(view: RoutesView) -> dict[str, str]:
    """The current text or path of each element of an open page, by key; a key with `!` holds the element's class."""
    values: dict[str, str] = {}
    texts = [view.stale] if view.stale else []
    for card in view.cards:
        texts += [figure.text for figure in card.figures]
        values |= {f"{figure.text.key}!": figure.colour for figure in card.figures}
        texts += [card.chart.line, card.chart.area, card.chart.maximum] if card.chart else []
        texts += [cell for row in card.rows for cell in row.cells]
    return values | {text.key: text.value for text in texts}


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


def _card(view: RouteView, backlogs: Sequence[int | None]) -> RouteCard:
    namespace, _, name = view.key.partition("/")
    served = not view.unserved_reason
    return RouteCard(
        key=view.key,
        namespace=namespace,
        name=name,
        ordering=view.ordering,
        suspended=view.suspended,
        unserved_reason=view.unserved_reason,
        dead_letters_path=f"/dead-letters?{urlencode({'route': view.key})}",
        figures=_figures(view) if served else (),
        chart=_chart(view, backlogs) if served else None,
        rows=_rows(view) if served else (),
    )


def _figures(view: RouteView) -> tuple[Figure, ...]:
    rates, age = view.rates, view.oldest_age_seconds
    failing = rates.failing if rates else None
    dead_letters_per_minute = rates.dead_letters * 60 if rates else None
    is_failing = failing is not None and failing > _FAILING_SHARE
    is_old = age is not None and age > _OLD_SECONDS and view.backlog != 0
    figures = (
        ("accepted", "accepted /s", formatting.rate(rates.accepted if rates else None), False),
        ("delivered", "delivered /s", formatting.rate(rates.delivered if rates else None), False),
        ("failing", "failing attempts", formatting.percentage(failing), is_failing),
        ("backlog", "backlog", formatting.count(view.backlog), False),
        ("oldest", "oldest message", _oldest(view.backlog, age), is_old),
        ("dead letters", "dead letters /min", formatting.rate(dead_letters_per_minute), bool(dead_letters_per_minute)),
    )
    return tuple(
        Figure(caption, Text(f"{view.key} {name}", value), "bad" if highlighted else "")
        for name, caption, value, highlighted in figures
    )


def _chart(view: RouteView, backlogs: Sequence[int | None]) -> ChartView:
    maximum = formatting.count(max((number for number in backlogs if number is not None), default=None))
    return ChartView(
        line=Text(f"{view.key} ~", chart_path(backlogs)),
        area=Text(f"{view.key} ~~", chart_path(backlogs, filled=True)),
        maximum=Text(f"{view.key} max", maximum),
    )


def _rows(view: RouteView) -> tuple[QueueRow, ...]:
    queues = [(queue, False) for queue in view.queues] + [(rung, True) for rung in view.rungs]
    return tuple(QueueRow(queue.name, is_rung, _cells(view.key, queue)) for queue, is_rung in queues)


def _cells(key: str, queue: QueueView) -> tuple[Text, ...]:
    counts = queue.counts
    values = {
        "visible": formatting.count(counts.visible if counts else None),
        "in_flight": formatting.count(counts.in_flight if counts else None),
        "delayed": formatting.count(counts.delayed if counts else None),
        "oldest": _oldest(counts.total if counts else None, queue.oldest_age_seconds),
    }
    return tuple(Text(f"{key} {queue.name} {name}", value) for name, value in values.items())


def _oldest(messages: int | None, age_seconds: float | None) -> str:
    """The age of the oldest of these messages. A dash means that it is unknown, not that there are no messages."""
    return "none" if messages == 0 else formatting.duration(age_seconds)
