"""Which traces `chaski trace --follow` prints again, and when it ends."""

from dataclasses import replace
from pathlib import Path

import pytest

from chaski_cli.trace import follow
from chaski_core.ports import AttemptEntry
from chaski_embedded.storage.reader import State, Trace
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import ExitCode

FAILED = AttemptEntry("i", "m", "s", "n/r", 1, 1_000, "first", "failed", "404", 404, 5.0, "no such page")
SENT = Trace("i", "m", "s", State.PENDING, (), route="n/r")
TRIED = replace(SENT, attempts=(FAILED,))
DELIVERED = replace(
    TRIED, state=State.DELIVERED, attempts=(FAILED, replace(FAILED, number=2, outcome="delivered", detail=""))
)


def test_only_changes_are_printed_again() -> None:
    """Another attempt, another state, or another message of the same label."""
    other = replace(SENT, message_id="j")
    assert follow.changed([SENT], [SENT]) == []
    assert follow.changed([SENT], [TRIED, other]) == [TRIED, other]


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("table", ["i (id m) of subject s: pending", "no attempts", "#", "1", "i (id m) of subject s: delivered", "2"]),
        ("json", ['{"schemaVersion":1,"messageId":"i"'] * 3),
    ],
)
def test_each_attempt_is_printed_once_until_the_message_has_ended(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], output: str, lines: list[str]
) -> None:
    """A state that was printed is not repeated."""
    states = iter([[SENT], [SENT], [TRIED], [DELIVERED], []])
    monkeypatch.setattr(follow, "traces_of", lambda *_: next(states))
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.0)
    assert follow.run_follow(BackendLocation(Path("data")), "m", output) is ExitCode.OK
    printed = capfdbinary.readouterr().out.decode().splitlines()
    assert [line[: len(start)] for line, start in zip(printed, lines, strict=True)] == lines
    assert next(states) == []
