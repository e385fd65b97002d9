"""What every page has: its title and user; the building blocks of several pages; and the error page."""

from dataclasses import dataclass

from chaski_console.pages.rendering import Html, render
from chaski_core.retry.outcome import class_of_key


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """The user of a page."""

    name: str = ""  # "" without authentication
    logout_token: str = ""  # of the logout form; "" if users do not log in here


ANONYMOUS = CurrentUser()


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a page."""

    title: str
    section: str = ""  # path of the link in the navigation that is marked as current
    user: CurrentUser = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Chip:
    """A short label."""

    label: str
    colour: str = ""  # good, warn, bad or none


def error_page(title: str, message: str, user: CurrentUser = ANONYMOUS) -> Html:
    """A page with an error instead of content."""
    return render("error.html", page=Frame(title, user=user), message=message)


def class_chip(error_class: str) -> Chip:
    """An error class, coloured. "": there was no error, as with a refused message."""
    return Chip(error_class or "none", class_colour(error_class))


def class_colour(error_class: str) -> str:
    """The colour of the chip of an error class."""
    return {"4xx": "warn", "3xx": "warn", "": ""}.get(class_of_key(error_class) if error_class else "", "bad")
