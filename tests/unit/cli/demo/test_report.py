"""The printed result of the demo."""

import io

from rich.console import Console

from chaski_cli.demo.experiment import EXPECTED, Metrics, Result, Row
from chaski_cli.demo.report import print_result

METRICS = Metrics({"test_subject": 200}, {"400": 200, "500": 250, "timeout": 150}, {}, {}, {})


def printed(result: Result) -> str:
    """The output on a terminal."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_result(console, result, 71.0)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_exact_result_is_called_exact() -> None:
    """The table has a row per endpoint and the sum."""
    text = printed(Result(dict(EXPECTED), METRICS, first_attempts_in_order=True))
    assert "no response (timeout)" in text
    assert "800" in text
    assert "\nexact: every figure is as expected (71 s)\n" in text
    assert "in the order sent: yes" in text


def test_a_wrong_figure_shows_the_expected_one() -> None:
    """In its row and in the sum."""
    rows = {**EXPECTED, "400": Row(50, 193, 243, 50)}
    text = printed(Result(rows, METRICS, first_attempts_in_order=False))
    for part in ("193 (200)", "243 (250)", "793 (800)", "not exact", "in the order sent: NO"):
        assert part in text
