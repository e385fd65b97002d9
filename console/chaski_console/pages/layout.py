"""The frame of every page, its building blocks, and the error page."""

from dataclasses import dataclass

from chaski_console.html import Child, Markup, el, join
from chaski_core import __version__
from chaski_core.retry.outcome import class_of_key

_PAGES = (("/", "Routes"), ("/dead-letters", "Dead letters"))


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """The user of a page."""

    name: str = ""  # "" without authentication
    logout_token: str = ""  # of the logout form; "" if users do not log in here


ANONYMOUS = CurrentUser()


def page(title: str, section: str, *content: Child, user: CurrentUser = ANONYMOUS) -> Markup:
    """A whole page.

    Args:
        title: of the page.
        section: path of the link in the navigation that is marked as current.
        content: of the page.
        user: shown in the header.
    """
    body = el("body", _header(section, user), el("main", content, id="content"), _footer())
    return join([Markup("<!doctype html>\n"), el("html", head(title), body, lang="en")])


def error_page(title: str, message: str, user: CurrentUser = ANONYMOUS) -> Markup:
    """A page with an error instead of content."""
    return page(title, "", el("div", el("h1", title), class_="title"), notice("bad", message), user=user)


def head(title: str, *, refresh: bool = False) -> Markup:
    """The `head` element. `refresh`: the browser reloads the page at once."""
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


def notice(colour: str, *content: Child) -> Markup:
    """A highlighted message. `colour`: good, bad or info."""
    return el("p", content, class_=f"notice {colour}", role="alert" if colour == "bad" else "status")


def chip(label: str, colour: str = "") -> Markup:
    """A short label. `colour`: good, warn, bad or none."""
    return el("span", label, class_=f"chip {colour}".strip())


def class_colour(error_class: str) -> str:
    """The colour of the chip of an error class."""
    return {"4xx": "warn", "3xx": "warn", "": ""}.get(class_of_key(error_class) if error_class else "", "bad")


def fact(name: str, *value: Child) -> list[Markup]:
    """A name and its value in a list of facts."""
    return [el("dt", name), el("dd", value)]


def isolated(value: object) -> Markup:
    """Text from outside, isolated so that its writing direction does not affect the text around it."""
    return el("bdi", str(value))


def _header(section: str, user: CurrentUser) -> Markup:
    links = [el("a", name, href=path, aria_current="page" if path == section else None) for path, name in _PAGES]
    search = el(
        "form",
        el("label", "Message ID", for_="find", class_="unseen"),
        el(
            "input", id="find", name="id", type="search", placeholder="Find a message by its ID  /",
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
                el("span", isolated(user.name), class_="user", title="Logged-in user") if user.name else None,
                _log_out(user.logout_token) if user.logout_token else None,
                class_="bar",
            ),
        ]
    )


def _log_out(token: str) -> Markup:
    return el(
        "form",
        el("input", type="hidden", name="token", value=token),
        el("button", "Log out"),
        method="post",
        action="/logout",
        class_="log-out",
    )


def _footer() -> Markup:
    keys = [("/", "find a message"), ("g r", "routes"), ("g d", "dead letters"), ("j k", "next, previous row")]
    return el(
        "footer",
        el("span", f"Chaski {__version__}"),
        el("span", [[el("kbd", key), " ", action, "  "] for key, action in keys], class_="keys"),
    )


LOGO = Markup(
    '<svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><path d="M4 25 13 9l5 9 3-5 7 12" fill="none" '
    'stroke="currentColor" stroke-width="3" stroke-linejoin="round" stroke-linecap="round"/>'
    '<circle cx="24" cy="6.500" r="3" fill="currentColor"/></svg>'
)
