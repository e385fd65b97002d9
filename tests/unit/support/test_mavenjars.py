"""Missing emulators skip tests on a laptop and fail them in CI."""

from pathlib import Path

import pytest

from support import tools
from support.aws.java_emulators import JavaProcess, jars


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)], ids=["laptop", "CI"]
)
def test_missing_java_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    """A test that could not run must not count as passed in CI."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(tools, "markers", None)  # as outside pytest: this test starts no Java
    with pytest.raises(outcome, match="elasticmq needs java"):
        jars("elasticmq")


def test_the_output_of_java_is_shown_if_it_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The end of the output, without waiting."""
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\necho no such class\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(AssertionError, match="no such class"):
        JavaProcess(["x"], started="never")
