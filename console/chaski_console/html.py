"""Builds HTML from values. Everything that is not `Markup` is text, and is escaped."""

import html
import re
from collections.abc import Iterable

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_NAME = re.compile(r"[a-z][a-z0-9-]*\Z")
# Shown as escape sequences, because they would change how the text around them is displayed: control characters, and
# characters that change the writing direction.
_INVISIBLE = {code: f"\\u{code:04x}" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}
_INVISIBLE |= {code: f"\\u{code:04x}" for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def text(value: object) -> Markup:
    """A value as escaped text."""
    return Markup(html.escape(str(value).translate(_INVISIBLE)))


def el(tag: str, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """An element.

    Args:
        tag: name of the element.
        children: texts, elements, or lists of them; None is skipped.
        attributes: `class_` is class, `data_key` is data-key; None and False omit the attribute, True omits its value.

    Raises:
        ValueError: the name of the element or of an attribute is invalid.
    """
    names = (tag, *(name.rstrip("_").replace("_", "-") for name in attributes))
    if not all(map(_NAME.match, names)):
        raise ValueError(f"invalid HTML names: {names}")
    written = "".join(
        f" {name}" if value is True else f' {name}="{text(value)}"'
        for name, value in zip(names[1:], attributes.values(), strict=True)
        if value is not None and value is not False
    )
    opening = f"<{tag}{written}>"
    return Markup(opening if tag in _VOID else f"{opening}{join(children)}</{tag}>")


def join(children: Child) -> Markup:
    """Concatenates children."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return text(children)
    return Markup("".join(map(join, children)))
