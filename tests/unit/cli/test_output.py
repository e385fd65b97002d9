"""Escaped text."""

from chaski_cli.output import printable


def test_control_characters_are_escaped_and_others_kept() -> None:
    """Only characters that a terminal would act on are changed."""
    assert printable("é 🦙 \x1b[1m\n\u202e") == "é 🦙 \\x1b[1m\\n\\u202e"
