"""The login page, and the page that reloads itself after a cross-site link."""

from chaski_console.html import Markup, el, join
from chaski_console.pages.layout import LOGO, head, notice
from chaski_core import __version__


def login_page(next_path: str, error: str = "", name: str = "") -> Markup:
    """Asks for a name and a password.

    Args:
        next_path: where to go after the login.
        error: why the last attempt failed, as a sentence.
        name: as entered before.
    """
    form = el(
        "form",
        el("h1", LOGO, "Chaski"),
        notice("bad", error) if error else None,
        _field("name", "Name", "text", "username", value=name, autofocus=not name),
        _field("password", "Password", "password", "current-password", autofocus=bool(name)),
        el("input", type="hidden", name="next", value=next_path),
        el("button", "Log in", class_="primary"),
        method="post",
        action="/login",
        class_="card login",
    )
    body = el("body", el("main", form, id="content"), el("footer", el("span", f"Chaski {__version__}")))
    return join([Markup("<!doctype html>\n"), el("html", head("Log in"), body, lang="en")])


def reload_page() -> Markup:
    """Requests the same address again, now as a same-site navigation.

    Browsers do not send a `SameSite=Strict` cookie when a user follows a link of another site; on the reload they do.
    """
    body = el("body", el("main", el("p", el("a", "Continue", href="")), id="content"))
    return join([Markup("<!doctype html>\n"), el("html", head("Chaski", refresh=True), body, lang="en")])


def _field(name: str, label: str, kind: str, autocomplete: str, **more: str | bool) -> Markup:
    control = el(
        "input", id=f"f-{name}", name=name, type=kind, autocomplete=autocomplete, maxlength=1024, required=True,
        spellcheck="false", autocapitalize="none", **more,
    )  # fmt: skip
    return el("div", el("label", label, for_=f"f-{name}"), control, class_="field")
