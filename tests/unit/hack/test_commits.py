"""hack/commits.py: the form of a commit message."""

import subprocess
from pathlib import Path

import pytest

from hack import commits

BODY = "\n\nBecause."


@pytest.mark.parametrize(
    "subject",
    [
        "worker: hide the head until it is due",
        "docs, chart: explain upgrades",
        "all: group modules",
        "cli: feed a pipe line by line",
    ],
)
def test_a_good_message_has_no_fault(subject: str) -> None:
    """One or more components, an imperative in lower case, and a body."""
    assert list(commits.faults(subject + BODY)) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        pytest.param("Fix the worker" + BODY, "not of the form", id="no component"),
        pytest.param("worker:fix it" + BODY, "not of the form", id="no space"),
        pytest.param("wroker: fix it" + BODY, "unknown component wroker", id="unknown component"),
        pytest.param("worker, wroker: fix it" + BODY, "unknown component wroker", id="second component"),
        pytest.param("worker: Fix it" + BODY, "lower case", id="upper case"),
        pytest.param("worker: fix it." + BODY, "full stop", id="full stop"),
        pytest.param("worker: fixed it" + BODY, "not an imperative", id="past"),
        pytest.param("worker: fixing it" + BODY, "not an imperative", id="participle"),
        pytest.param("worker: " + "x" * 65 + BODY, "73 characters", id="too long"),
        pytest.param("worker: fix it", "body is empty", id="no body"),
        pytest.param("worker: fix it\n\n  \n", "body is empty", id="blank body"),
    ],
)
def test_each_rule_is_checked(message: str, fault: str) -> None:
    """A message that breaks one rule has one fault."""
    (only,) = commits.faults(message)
    assert fault in only


def git(*arguments: str) -> str:
    """Runs git in the current folder, without the settings of this machine."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with one commit older than the rule, which becomes the base."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "Older than the rule")
    monkeypatch.setattr(commits, "BASE", git("rev-parse", "HEAD"))


@pytest.mark.usefixtures("repository")
def test_commits_after_the_base_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """The base itself and merges are not."""
    assert commits.main() == 0
    git("commit", "-q", "--allow-empty", "-m", "worker: hide the head" + BODY)
    git("checkout", "-q", "-b", "side", "HEAD~")
    git("commit", "-q", "--allow-empty", "-m", "cli: print less" + BODY)
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "Merge side", "side")
    assert commits.main() == 0
    assert "2 checked" in capsys.readouterr().out
    git("commit", "-q", "--allow-empty", "-m", "Improve things")
    assert commits.main() == 1
    assert "'Improve things'" in capsys.readouterr().out


@pytest.mark.parametrize("history", ["none", "without the base"])
def test_without_the_history_the_check_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], history: str
) -> None:
    """An export, and a clone that does not reach back to the base."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if history != "none":
        git("init", "-q")
        git("commit", "-q", "--allow-empty", "-m", "Improve things")
    assert commits.main() == 0
    assert "skipped" in capsys.readouterr().out
