import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_console.html import Markup, el, join, text

HOSTILE = "<script>alert(1)</script>\"'&"


def test_text_is_escaped() -> None:
    """As a child and as the value of an attribute."""
    made = el("a", HOSTILE, title=HOSTILE)
    assert "<script>" not in made
    assert made.count("&lt;script&gt;") == 2
    assert '"' not in made.removeprefix('<a title="').partition('"')[0]


def test_only_markup_is_not_escaped() -> None:
    """A str that contains HTML is text."""
    assert el("p", Markup("<b>x</b>"), "<b>") == "<p><b>x</b>&lt;b&gt;</p>"
    assert type(join(["a", Markup("b")])) is Markup


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (el("p"), "<p></p>"),
        (el("br"), "<br>"),
        (el("p", None, ["a", [3, None]]), "<p>a3</p>"),
        (el("input", checked=True, disabled=False, value=None), "<input checked>"),
        (el("p", class_="c", data_key="k"), '<p class="c" data-key="k"></p>'),
    ],
    ids=["empty", "void", "nested", "flags", "names"],
)
def test_elements_are_written_as_html(made: str, expected: str) -> None:
    """One rule per case."""
    assert made == expected


@pytest.mark.parametrize("name", ["a b", "a>", "", "1a", "onClick"])
def test_invalid_names_are_rejected(name: str) -> None:
    """Names are never data."""
    with pytest.raises(ValueError, match="invalid HTML names"):
        el(name)


@given(st.text())
def test_escaped_text_has_no_special_characters(value: str) -> None:
    """For any text."""
    shown = text(value)
    assert not set(shown) & set("<>\"'")


@pytest.mark.parametrize("code", [0x00, 0x1B, 0x7F, 0x85, 0x202E, 0x2066], ids=hex)
def test_invisible_characters_are_shown_as_escape_sequences(code: int) -> None:
    """Control characters, and those that change the writing direction."""
    assert text(f"a{chr(code)}b") == f"a\\u{code:04x}b"
