"""What a worker process takes, and when it is to be restarted."""

from pathlib import Path

import pytest

from chaski_core.errors import InvalidInputError, InvalidRouteError
from chaski_worker.__main__ import main
from chaski_worker.delivery.triage import Stage
from chaski_worker.process import WorkerOptions, read_route, stale
from chaski_worker.settings import SQS_SETTINGS, from_environment
from support.resolved import resolved_text


def options(file: Path, queue: str | None = None) -> WorkerOptions:
    """To consume the route of a file."""
    return WorkerOptions(
        (Stage.FIRST,),
        file,
        queue,
        "127.0.0.1",
        0,
        allow_loopback=False,
        settings=SQS_SETTINGS,
        secrets=Path("secrets"),
    )


@pytest.mark.parametrize(
    ("content", "queue", "told"),
    [
        (resolved_text("a") + "\n---\n" + resolved_text("b"), None, "a worker takes one"),
        (resolved_text("a"), "quick", 'no queue is called "quick"; there are messages'),
        (resolved_text("a", table=None), None, "deadLetterTable"),
        ("kind: Nothing", None, "chaski provision"),
    ],
    ids=["two routes", "no such queue", "no table", "no resolved route"],
)
def test_what_can_not_be_worked_on_is_refused(tmp_path: Path, content: str, queue: str | None, told: str) -> None:
    """Before anything is polled, in words that lead to the fix."""
    file = tmp_path / "resolved.yaml"
    file.write_text(content)
    with pytest.raises(InvalidRouteError, match=told):
        read_route(options(file, queue))


def test_a_route_is_read(tmp_path: Path) -> None:
    """The one of the file."""
    (tmp_path / "resolved.yaml").write_text(resolved_text("a"))
    assert read_route(options(tmp_path / "resolved.yaml", "messages")).route.key == "n/a"


@pytest.mark.parametrize(("environment", "seconds"), [({}, 0), ({"CHASKI_VISIBILITY_SECONDS": "6"}, 6)])
def test_the_environment_sets_the_hold(environment: dict[str, str], seconds: int) -> None:
    """In whole seconds; without it the route decides."""
    assert from_environment(environment).visibility_seconds == seconds
    assert from_environment(environment).delete_linger_seconds == SQS_SETTINGS.delete_linger_seconds


@pytest.mark.parametrize("value", ["", "1", "121", "6.5", "-6", "soon"])
def test_a_hold_that_can_not_be_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, with what can be; the command ends with 2."""
    with pytest.raises(InvalidInputError, match="CHASKI_VISIBILITY_SECONDS"):
        from_environment({"CHASKI_VISIBILITY_SECONDS": value})
    monkeypatch.setenv("CHASKI_VISIBILITY_SECONDS", value)
    assert main(["consume", "--route", "any"]) == 2
    assert "from 2 to 120" in capsys.readouterr().err


def test_a_queue_that_the_route_no_longer_has_is_worked_off(tmp_path: Path) -> None:
    """Its old generation names it still."""
    text = (
        resolved_text("a")
        .replace("  generation: 1", "  generation: 2")
        .replace("  generations:", "  generations:\n  - number: 0\n    queues:\n    - name: old\n      urls: [x]")
    )
    (tmp_path / "resolved.yaml").write_text(text)
    assert read_route(options(tmp_path / "resolved.yaml", "old")).route.key == "n/a"


@pytest.mark.parametrize(("age", "told"), [(None, None), (60.0, None), (61.0, "no successful poll for 61 s")])
@pytest.mark.promise(10)
def test_a_worker_that_polls_no_more_is_not_alive(age: float | None, told: str | None) -> None:
    """Three long polls without a success; before the first poll nothing is known."""
    verdict = stale(age)
    assert (verdict is None) == (told is None)
    assert told is None or (verdict is not None and verdict.startswith(told))


def test_the_command_says_what_is_wrong_with_its_route(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, the file, the fault."""
    (tmp_path / "r.yaml").write_text("kind: Nothing")
    assert main(["consume", "--route", str(tmp_path / "r.yaml")]) == 2
    assert "r.yaml can't be used" in capsys.readouterr().err
    assert main(["retry", "--route", str(tmp_path / "absent")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_worker_whose_secrets_are_not_there_does_not_begin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It must not send unsigned what should be signed."""
    text = resolved_text("a").replace("targets:", "signing: {secretName: keys}\n    targets:")
    (tmp_path / "resolved.yaml").write_text(text)
    command = ["consume", "--route", str(tmp_path / "resolved.yaml"), "--secrets", str(tmp_path), "--metrics-port", "0"]
    assert main(command) == 2
    assert "spec.signing.secretName" in capfd.readouterr().err


@pytest.mark.parametrize(("environment", "characters"), [({}, 0), ({"CHASKI_LOG_CONTENT_CHARS": "500"}, 500)])
def test_contents_are_logged_only_where_they_are_asked_for(environment: dict[str, str], characters: int) -> None:
    """And never more than 8,192 characters."""
    assert from_environment(environment).log_content_characters == characters
    with pytest.raises(InvalidInputError, match="CHASKI_LOG_CONTENT_CHARS"):
        from_environment({"CHASKI_LOG_CONTENT_CHARS": "8193"})
