"""Options that several commands share: the location, and the old names of its options."""

from pathlib import Path

import pytest

from chaski_cli.options import location_of
from chaski_replay.backends import BackendLocation, read_resolved_file
from chaski_runtime.process.command_error import CommandError, ExitCode
from support.resolved import resolved_text

DATA = Path(".chaski")


def test_a_route_is_a_name_and_its_file_another_option(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that is given as before is read, with a note."""
    file = tmp_path / "resolved.yaml"
    file.write_text(resolved_text("r"))
    assert location_of(DATA, file, "n/r") == BackendLocation(DATA, file, "n/r")
    assert location_of(DATA, None, None) == BackendLocation(DATA)
    assert capfd.readouterr().err == ""
    assert location_of(DATA, None, str(file)) == BackendLocation(DATA, file)
    assert f"use --resolved {file}" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["first", "n/r/x", "N/r", "none.yaml"])
def test_anything_else_is_wrong_input(text: str) -> None:
    """The next step names the option for files."""
    with pytest.raises(CommandError, match="expected NAMESPACE/NAME") as refused:
        location_of(DATA, None, text)
    assert refused.value.exit_code is ExitCode.WRONG_INPUT
    assert "--resolved" in refused.value.next_step


def test_one_of_the_routes_of_a_file_is_chosen_by_name(tmp_path: Path) -> None:
    """Otherwise those that it has are named."""
    file = tmp_path / "resolved.yaml"
    file.write_text(f"{resolved_text('a')}---\n{resolved_text('b')}")
    assert [each.route.key for each in read_resolved_file(file)] == ["n/a", "n/b"]
    assert BackendLocation(DATA, file, "n/b").read_resolved().route.key == "n/b"
    for route, named in ((None, "add --route with one of: n/a, n/b"), ("n/c", "known routes: n/a, n/b")):
        with pytest.raises(CommandError) as refused:
            BackendLocation(DATA, file, route).read_resolved()
        assert refused.value.next_step == named
    file.write_text(resolved_text("a", table=None))
    with pytest.raises(CommandError, match="dead-letter table of n/a is missing"):
        read_resolved_file(file)
