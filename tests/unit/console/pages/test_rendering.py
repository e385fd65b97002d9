"""The templates: everything that they are given is text, and nothing else is on the pages."""

import html
import re
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chaski_console.pages
from chaski_console.pages.layout import Frame, error_page
from chaski_console.pages.login import LoginView, login_page
from chaski_console.pages.rendering import render

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
TEMPLATES = sorted((Path(chaski_console.pages.__file__).parent / "templates").iterdir())


def shown(text: str) -> str:
    """How an error page shows a text, as HTML."""
    found = re.search(r'role="alert">(.*?)</p>', error_page("Title", text), re.DOTALL)
    assert found is not None
    return found[1]


def test_text_is_escaped() -> None:
    """As the content of an element and as the value of an attribute; braces mean nothing in a value."""
    assert html.unescape(shown(HOSTILE)) == HOSTILE
    assert "<" not in shown(HOSTILE)
    found = re.search(r'name="name" [^>]*value="([^"]*)"', login_page(LoginView("/", name=HOSTILE)))
    assert found is not None
    assert html.unescape(found[1]) == HOSTILE


def test_a_text_is_escaped_once() -> None:
    """Also if a macro shows it."""
    assert shown("a < b & c") == "a &lt; b &amp; c"


@given(st.text())
def test_escaped_text_has_no_special_characters(value: str) -> None:
    """For any text."""
    assert not set(shown(value)) & set("<>\"'")


@pytest.mark.parametrize("code", [0x00, 0x1B, 0x7F, 0x85, 0x202E, 0x2066], ids=hex)
def test_invisible_characters_are_shown_as_escape_sequences(code: int) -> None:
    """Control characters, and those that change the writing direction."""
    assert shown(f"a{chr(code)}b") == f"a\\u{code:04x}b"


def test_an_undefined_value_is_an_error() -> None:
    """Instead of a gap in the page."""
    with pytest.raises(jinja2.UndefinedError, match="message"):
        render("error.html", page=Frame("Title"))


def test_pages_carry_no_indentation_of_the_templates() -> None:
    """It would be a seventh of the page of many routes."""
    assert [line for line in error_page("Title", "x").splitlines() if line.startswith((" ", "\t"))] == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_turns_escaping_off_or_holds_scripts_and_styles(template: Path) -> None:
    """The content security policy would block inline scripts and styles, including handlers in attributes."""
    text = template.read_text(encoding="utf-8")
    assert re.findall(r"\|\s*safe|autoescape|Markup", text) == []
    assert re.findall(r"<script(?! src=\"/static/)|<style|\son\w+=|\sstyle=|javascript:", text) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_value_of_an_attribute_is_quoted(template: Path) -> None:
    """Escaping protects quoted values only."""
    assert re.findall(r"=\{\{", template.read_text(encoding="utf-8")) == []
