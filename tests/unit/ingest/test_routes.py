"""Routes from files, reloaded when they change."""

from pathlib import Path

import pytest

from chaski_core.errors import InvalidRouteError
from chaski_ingest.__main__ import main
from chaski_ingest.routes import RouteFiles
from support.resolved import resolved_text


def test_a_folder_of_files_and_a_file_of_documents_are_read(tmp_path: Path) -> None:
    """Both ways to define several routes; other files are ignored."""
    (tmp_path / "one.yaml").write_text(resolved_text("a") + "\n---\n" + resolved_text("b"))
    (tmp_path / "two.yml").write_text(resolved_text("c"))
    (tmp_path / "notes.txt").write_text("?")
    files = RouteFiles(tmp_path)
    assert {resolved.route.name for resolved in files} == {"a", "b", "c"}
    assert files.find("n", "c") is not None
    assert files.find("n", "d") is None
    assert {resolved.route.name for resolved in RouteFiles(tmp_path / "one.yaml")} == {"a", "b"}


def test_a_changed_file_is_reloaded(tmp_path: Path) -> None:
    """New queues, a new route, a deleted route."""
    file = tmp_path / "r.yaml"
    file.write_text(resolved_text("a"))
    files = RouteFiles(tmp_path)
    assert not files.refresh()
    file.write_text(resolved_text("a", "https://q/2"))
    (tmp_path / "s.yaml").write_text(resolved_text("b"))
    assert files.refresh()
    found = files.find("n", "a")
    assert found is not None
    assert found.place("s")[2] == "https://q/2"
    (tmp_path / "s.yaml").unlink()
    assert files.refresh()
    assert files.find("n", "b") is None


@pytest.mark.parametrize(
    "broken", [b"kind: Nothing", b"a: [", b"", b"a: \xff"], ids=["kind", "yaml", "empty", "not UTF-8"]
)
def test_an_invalid_file_keeps_the_previous_routes(tmp_path: Path, broken: bytes) -> None:
    """A mistake in a mounted file must not remove a running ingest's routes."""
    file = tmp_path / "r.yaml"
    file.write_text(resolved_text("a"))
    files = RouteFiles(tmp_path)
    file.write_bytes(broken)
    assert not files.refresh()
    assert files.find("n", "a") is not None
    file.unlink()
    file.mkdir()
    assert files.refresh()
    assert files.find("n", "a") is None


def test_every_error_names_its_file(tmp_path: Path) -> None:
    """At the start every error is fatal, and names file and field."""
    (tmp_path / "a.yaml").write_text("kind: Nothing")
    (tmp_path / "b.yaml").write_text(resolved_text("a"))
    (tmp_path / "c.yaml").write_text(resolved_text("a"))
    with pytest.raises(InvalidRouteError) as caught:
        RouteFiles(tmp_path)
    assert [fault.field for fault in caught.value.errors] == ["a.yaml: kind", "c.yaml: metadata.name"]


def test_the_command_reports_invalid_routes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 for invalid input, with the fix."""
    (tmp_path / "a.yaml").write_text("kind: Nothing")
    assert main(["--auth", "none", "--routes", str(tmp_path / "a.yaml")]) == 2
    assert "chaski provision" in capsys.readouterr().err
    assert main(["--auth", "none", "--routes", str(tmp_path / "absent")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["--routes", str(tmp_path), "--auth", "anything"]) == 2
    assert "--auth" in capsys.readouterr().err
