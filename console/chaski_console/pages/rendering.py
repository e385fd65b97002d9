"""Renders the templates of the pages. Every value is escaped, and an undefined one is an error."""

import re
from pathlib import Path
from typing import NewType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from chaski_core import __version__

Html = NewType("Html", str)  # a rendered page

# Shown as escape sequences, because they would change how the text around them is displayed: control characters, and
# characters that change the writing direction.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INDENTATION = re.compile(r"(?m)^[ \t]+")


def render(template: str, **values: object) -> Html:
    """The page of a template of the folder `templates`.

    Raises:
        jinja2.UndefinedError: the template uses a value that it is not given.
    """
    return Html(_ENVIRONMENT.get_template(template).render(values))


class _WithoutIndentation(Extension):
    """Removes the templates' indentation when they are loaded: it is for their readers, and no page has to carry it."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002 - Jinja's signature
        return _INDENTATION.sub("", source)


def _visible(value: object) -> object:
    """A value as it is shown, still to be escaped. Markup is the output of macros, whose values were shown already."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    auto_reload=False,
    undefined=StrictUndefined,
    finalize=_visible,
    trim_blocks=True,
    extensions=[_WithoutIndentation],
)
_ENVIRONMENT.globals["version"] = __version__
