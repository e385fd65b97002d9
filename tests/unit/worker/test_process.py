"""The route of a worker process, its command, and its health."""

from pathlib import Path

import pytest

from chaski_core.errors import InvalidRouteError
from chaski_worker.__main__ import main
from chaski_worker.delivery.triage import Stage
from chaski_worker.process import WorkerOptions, read_route, stale_reason
from chaski_worker.settings import SQS_SETTINGS
from support.resolved import resolved_text


def options(file: Path, queue: str | None = None) -> WorkerOptions:
    """Options to consume the route of a file."""
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
    ("content", "queue", "expected"),
    [
        (resolved_text("a") + "\n---\n" + resolved_text("b"), None, "a worker takes one"),
        (resolved_text("a"), "quick", '"quick" does not exist; the queues are messages'),
        (resolved_text("a", table=None), None, "deadLetterTable"),
        ("kind: Nothing", None, "chaski provision"),
    ],
    ids=["two routes", "no such queue", "no table", "no resolved route"],
)
def test_an_unusable_route_file_is_refused(tmp_path: Path, content: str, queue: str | None, expected: str) -> None:
    """Before anything is polled, with the fix."""
    file = tmp_path / "resolved.yaml"
    file.write_text(content)
    with pytest.raises(InvalidRouteError, match=expected):
        read_route(options(file, queue))


def test_the_route_of_the_file_is_read(tmp_path: Path) -> None:
    """It is the only route of the file."""
    (tmp_path / "resolved.yaml").write_text(resolved_text("a"))
    assert read_route(options(tmp_path / "resolved.yaml", "messages")).route.key == "n/a"


def test_a_queue_removed_from_the_route_is_drained(tmp_path: Path) -> None:
    """Its older generation still has it."""
    text = (
        resolved_text("a")
        .replace("  generation: 1", "  generation: 2")
        .replace("  generations:", "  generations:\n  - number: 0\n    queues:\n    - name: old\n      urls: [x]")
    )
    (tmp_path / "resolved.yaml").write_text(text)
    assert read_route(options(tmp_path / "resolved.yaml", "old")).route.key == "n/a"


@pytest.mark.parametrize(("age", "expected"), [(None, None), (60.0, None), (61.0, "no successful poll for 61 s")])
@pytest.mark.promise(10)
def test_a_worker_without_successful_polls_is_not_alive(age: float | None, expected: str | None) -> None:
    """Three long polls without a success; before the first poll nothing is known."""
    verdict = stale_reason(age)
    assert (verdict is None) == (expected is None)
    assert expected is None or (verdict is not None and verdict.startswith(expected))


def test_the_command_reports_what_is_wrong_with_its_route(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2, the file and the fault."""
    (tmp_path / "r.yaml").write_text("kind: Nothing")
    assert main(["consume", "--route", str(tmp_path / "r.yaml")]) == 2
    assert "r.yaml can't be used" in capsys.readouterr().err
    assert main(["retry", "--route", str(tmp_path / "absent")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_worker_without_its_secrets_does_not_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It must not send unsigned requests that should be signed."""
    text = resolved_text("a").replace("targets:", "signing: {secretName: keys}\n    targets:")
    (tmp_path / "resolved.yaml").write_text(text)
    command = ["consume", "--route", str(tmp_path / "resolved.yaml"), "--secrets", str(tmp_path), "--metrics-port", "0"]
    assert main(command) == 2
    assert "spec.signing.secretName" in capfd.readouterr().err
