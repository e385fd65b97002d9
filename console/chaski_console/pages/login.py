"""The login page, and the page that reloads itself after a cross-site link."""

from dataclasses import dataclass

from chaski_console.pages.layout import Frame
from chaski_console.pages.rendering import Html, render


@dataclass(frozen=True, slots=True)
class LoginView:
    """The login form."""

    next_path: str  # where to go after the login
    error: str = ""  # why the last attempt failed, as a sentence
    name: str = ""  # as entered before


def login_page(view: LoginView) -> Html:
    """Asks for a name and a password."""
    return render("login.html", page=Frame("Log in"), view=view)


def reload_page() -> Html:
    """Requests the same address again, now as a same-site navigation.

    Browsers do not send a `SameSite=Strict` cookie when a user follows a link of another site; on the reload they do.
    """
    return render("reload.html", page=Frame("Chaski"))
