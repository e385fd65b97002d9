"""The programs that tests need beside Python, and the markers for them."""

import pytest

from support import tools


@pytest.mark.parametrize(
    ("markers", "program", "passes"),
    [
        ((), "landing", False),
        (("promise",), "cluster", False),
        (("landing",), "cluster", False),
        (("landing",), "landing", True),
        (("cluster",), "landing", True),
        (("cluster", "looptime"), "cluster", True),
        (("slow",), "cluster", True),
        (("e2e",), "landing", True),
        (None, "cluster", True),
    ],
)
def test_a_program_needs_its_marker(
    monkeypatch: pytest.MonkeyPatch, markers: tuple[str, ...] | None, program: str, passes: bool
) -> None:
    """Else `make test` would skip the test on one machine and run it on another. Outside pytest nothing is checked."""
    monkeypatch.setattr(tools, "markers", markers)
    if passes:
        tools.requires(program, "a program")
    else:
        with pytest.raises(pytest.fail.Exception, match=f"marked `{program}`"):
            tools.requires(program, "a program")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_program_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """Skipped on a laptop, failed in CI."""
    monkeypatch.setattr(tools, "markers", None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="absent-program"):
        tools.need("absent-program")
