"""What every page has around what it shows."""

from dataclasses import dataclass

from chaski_console.html import Child, Markup, el, join
from chaski_core import __version__

_PAGES = (("/", "Routes"), ("/dead-letters", "Dead letters"))


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """Who looks at a page."""

    user: str = ""  # "" where that is not known
    leave: str = ""  # token of the form that signs out; "" where nobody signs in


NOBODY = CurrentUser()


def page(title: str, here: str, *content: Child, who: CurrentUser = NOBODY) -> Markup:
    """A whole page.

    Args:
        title: of the page.
        here: path of the part of the console that it belongs to.
        content: what it shows.
        who: looks at it.
    """
    body = el("body", _bar(here, who), el("main", content, id="content"), _foot())
    return join([Markup("<!doctype html>\n"), el("html", head(title), body, lang="en")])


def head(title: str, *, refresh: bool = False) -> Markup:
    """What a page says of itself. `refresh`: load it again at once."""
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="refresh", content="0") if refresh else None,
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} · Chaski"),
        el("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        el("link", rel="stylesheet", href="/static/console.css"),
        el("script", src="/static/console.js", defer=True),
    )


def notice(kind: str, *content: Child) -> Markup:
    """A message to the reader. `kind`: good, bad or info."""
    return el("p", content, class_=f"notice {kind}", role="alert" if kind == "bad" else "status")


def chip(said: str, kind: str = "") -> Markup:
    """A short word with a colour."""
    return el("span", said, class_=f"chip {kind}".strip())


def fact(name: str, *value: Child) -> list[Markup]:
    """A line of a list of facts."""
    return [el("dt", name), el("dd", value)]


def plain(value: object) -> Markup:
    """Text from outside, which must not turn the direction of what stands around it."""
    return el("bdi", str(value))


def _bar(here: str, who: CurrentUser) -> Markup:
    links = [el("a", name, href=path, aria_current="page" if path == here else None) for path, name in _PAGES]
    search = el(
        "form",
        el("label", "Message id", for_="find", class_="unseen"),
        el(
            "input", id="find", name="id", type="search", placeholder="Find a message by its id  /",
            autocomplete="off", spellcheck="false", maxlength=128, required=True,
        ),
        action="/messages", method="get", role="search", class_="find",
    )  # fmt: skip
    return join(
        [
            el("a", "Skip to content", href="#content", class_="skip"),
            el(
                "header",
                el("a", LOGO, el("span", "Chaski"), href="/", class_="brand"),
                el("nav", links, aria_label="Console"),
                search,
                el("span", plain(who.user), class_="user", title="signed in") if who.user else None,
                _sign_out(who.leave) if who.leave else None,
                class_="bar",
            ),
        ]
    )


def _sign_out(token: str) -> Markup:
    return el(
        "form",
        el("input", type="hidden", name="token", value=token),
        el("button", "Sign out"),
        method="post",
        action="/logout",
        class_="leave",
    )


def _foot() -> Markup:
    keys = [("/", "find a message"), ("g r", "routes"), ("g d", "dead letters"), ("j k", "next, previous row")]
    return el(
        "footer",
        el("span", f"Chaski {__version__}"),
        el("span", [[el("kbd", key), " ", said, "  "] for key, said in keys], class_="keys"),
    )


LOGO = Markup(
    '<svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><path d="M4 25 13 9l5 9 3-5 7 12" fill="none" '
    'stroke="currentColor" stroke-width="3" stroke-linejoin="round" stroke-linecap="round"/>'
    '<circle cx="24" cy="6.500" r="3" fill="currentColor"/></svg>'
)
