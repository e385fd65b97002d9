"""Signing in."""

from chaski_console.html import Markup, el, join
from chaski_console.pages.layout import LOGO, head, notice
from chaski_core import __version__


def login_page(onward: str, fault: str = "", name: str = "") -> Markup:
    """Asks for a name and a password.

    Args:
        onward: where to go on afterwards.
        fault: why it did not work before, in a sentence.
        name: as it was given before.
    """
    form = el(
        "form",
        el("h1", LOGO, "Chaski"),
        notice("bad", fault) if fault else None,
        _field("name", "Name", "text", "username", value=name, autofocus=not name),
        _field("password", "Password", "password", "current-password", autofocus=bool(name)),
        el("input", type="hidden", name="next", value=onward),
        el("button", "Sign in", class_="primary"),
        method="post",
        action="/login",
        class_="card login",
    )
    body = el("body", el("main", form, id="content"), el("footer", el("span", f"Chaski {__version__}")))
    return join([Markup("<!doctype html>\n"), el("html", head("Sign in"), body, lang="en")])


def again_page() -> Markup:
    """Loads the same address once more, as a page of ours.

    Browsers do not send the session's cookie when somebody follows a link of another site; then they do.
    """
    body = el("body", el("main", el("p", el("a", "Go on", href="")), id="content"))
    return join([Markup("<!doctype html>\n"), el("html", head("Chaski", refresh=True), body, lang="en")])


def _field(name: str, label: str, kind: str, fills: str, **more: str | bool) -> Markup:
    given = el(
        "input", id=f"f-{name}", name=name, type=kind, autocomplete=fills, maxlength=1024, required=True,
        spellcheck="false", autocapitalize="none", **more,
    )  # fmt: skip
    return el("div", el("label", label, for_=f"f-{name}"), given, class_="field")
