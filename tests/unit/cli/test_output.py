"""Escaped text, tables and ages."""

import io

import pytest
from rich.console import Console

from chaski_cli.output import age, printable, table, versioned

IDENTITY = "5fea7756-0ea4-451a-a703-a558b933e274"
ROWS = [
    (IDENTITY, "a long subject that a narrow terminal can't hold", "an error as long as it is"),
    (IDENTITY, "s", "-"),
]


def lines(width: int, *, terminal: bool) -> list[str]:
    """The table as a console prints it."""
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, soft_wrap=True)
    console.print(table(("message", "subject", "error"), ROWS, cut=("subject",)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_control_characters_are_escaped_and_others_kept() -> None:
    """Only characters that a terminal would act on are changed."""
    assert printable("é 🦙 \x1b[1m\n\u202e") == "é 🦙 \\x1b[1m\\n\\u202e"


def test_a_terminal_cuts_only_what_may_be_cut() -> None:
    """Each row is one line; an id can be copied at 80 columns, and where nothing is left to cut, the terminal wraps the line."""
    head, first, second = lines(80, terminal=True)
    assert head.split() == ["MESSAGE", "SUBJECT", "ERROR"]
    assert IDENTITY in first
    assert "…" in first
    assert first.endswith("an error as long as it is")
    assert len(first) == 80
    assert second.split() == [IDENTITY, "s", "-"]
    assert IDENTITY in lines(30, terminal=True)[1]


def test_nothing_is_cut_in_a_pipe() -> None:
    """However narrow the console believes to be; and no line ends with spaces."""
    _, first, second = lines(30, terminal=False)
    assert first == "  ".join(ROWS[0])
    assert second == second.rstrip()


def test_wide_characters_keep_the_columns() -> None:
    """A cell of two columns counts as two."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table(("a", "b"), [("注文", "x"), ("abcd", "y")]))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1:] == ["注文  x", "abcd  y"]


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119_000, "119s"),
        (120_000, "2m"),
        (7_199_000, "119m"),
        (7_200_000, "2h"),
        (172_800_000, "2d"),
    ],
)
def test_an_age_has_one_unit(milliseconds: int, shown: str) -> None:
    """Two of a unit at least; a clock that is behind shows no negative age."""
    assert age(1_000_000, 1_000_000 + milliseconds) == shown


def test_json_objects_name_the_version_of_their_form() -> None:
    """It is the first field."""
    assert list(versioned({"a": 1}).items()) == [("schemaVersion", 1), ("a", 1)]
