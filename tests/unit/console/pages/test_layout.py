"""Contrast of the colours."""

import itertools
import re
from pathlib import Path

import pytest

import chaski_console

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
def test_text_has_enough_contrast(scheme: dict[str, str], front: str, back: str) -> None:
    """At least 4.5 to 1 (WCAG 2 AA) in both colour schemes."""
    light, dark = sorted([luminance(scheme[front]), luminance(scheme[back])], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
