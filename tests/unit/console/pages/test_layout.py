"""How the console looks, as far as figures can say it."""

import itertools
import re
from pathlib import Path

import pytest

import chaski_console
from chaski_console import formatting
from chaski_console.pages.routes import line_of

CSS = (Path(chaski_console.__file__).parent / "static" / "console.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8})", block)) for block in re.findall(r":root \{(.+?)\}", CSS, re.DOTALL)
)
PAIRS = [
    *itertools.product(["ink", "faint", "accent", "bad"], ["ground", "card", "tint"]),
    ("on-accent", "accent"),
    ("card", "bad"),
    *((name, f"{name}-tint") for name in ("good", "warn", "bad")),
]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), PAIRS, ids=lambda name: name)
def test_text_can_be_read(scheme: dict[str, str], front: str, back: str) -> None:
    """At least 4.5 to 1, in both schemes."""
    light, dark = sorted([luminance(scheme[front]), luminance(scheme[back])], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.span(None), "\u2013"),
        (formatting.span(0), "0 s"),
        (formatting.span(0.4), "<1 s"),
        (formatting.span(59.4), "59 s"),
        (formatting.span(180), "3 min"),
        (formatting.span(7_200), "2 h"),
        (formatting.span(200_000), "2 d"),
        (formatting.rate(0), "0"),
        (formatting.rate(0.25), "0.2"),
        (formatting.rate(1234.5), "1,234"),
        (formatting.share(None), "\u2013"),
        (formatting.share(0.012), "1.2 %"),
        (formatting.share(1), "100 %"),
        (formatting.count(12_345), "12,345"),
    ],
    ids=str,
)
def test_figures_are_short(shown: str, expected: str) -> None:
    """One unit, few digits."""
    assert shown == expected


def test_a_picture_has_gaps_where_nothing_is_known() -> None:
    """Two strokes, not one through the unknown; the newest at the right edge."""
    path = line_of([1, 2, None, 4])
    assert path.count("M") == 2
    assert path.endswith("300.0 3.0")
    assert line_of([]) == "M0 0"
    assert line_of([None]) == "M0 0"
    assert line_of([1, 2], filled=True).endswith("44Z")
