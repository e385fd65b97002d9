"""Route files."""

from pathlib import Path

import orjson
import pytest

from chaski_cli.dev.command import curl_line, is_loopback
from chaski_cli.errors import CommandError, Exit
from chaski_cli.routes import check, load


def route(folder: Path, file: str, *names: str, url: str = "http://127.0.0.1:9000/") -> Path:
    """A file with a route of each name."""
    documents = [
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiRoute",
            "metadata": {"name": name},
            "spec": {
                "ordering": "Relaxed",
                "queues": [{"name": "messages", "partitions": 1}],
                "targets": {"allow": [{"name": "local", "url": url}]},
            },
        }
        for name in names
    ]
    path = folder / file
    path.write_bytes(b"\n---\n".join(orjson.dumps(document) for document in documents))
    return path


def test_all_documents_of_all_files_are_read(tmp_path: Path) -> None:
    """In their order."""
    files = [route(tmp_path, "1.yaml", "a", "b"), route(tmp_path, "2.yaml", "c")]
    assert [each.key for each in load(files)] == ["default/a", "default/b", "default/c"]


def test_a_route_in_two_files_is_a_fault_of_the_second(tmp_path: Path) -> None:
    """The fault names the route and the first file."""
    first, second = check([route(tmp_path, "1.yaml", "a"), route(tmp_path, "2.yaml", "a")])
    assert not first.faults
    assert "default/a is in" in second.faults[0].message
    assert "1.yaml" in second.faults[0].message


def test_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    """Nothing is loaded when one file is wrong."""
    (tmp_path / "latin.yaml").write_bytes(b"\xe9")
    files = [tmp_path / "missing.yaml", tmp_path / "latin.yaml", route(tmp_path, "wrong.yaml", "UPPER")]
    with pytest.raises(CommandError) as caught:
        load([route(tmp_path, "right.yaml", "a"), *files])
    assert caught.value.exit_code is Exit.WRONG_INPUT
    for part in ("missing.yaml", "latin.yaml", "UTF-8", "wrong.yaml", "metadata.name"):
        assert part in str(caught.value)
    assert "right.yaml" not in str(caught.value)


def test_the_curl_line_can_be_pasted(tmp_path: Path) -> None:
    """It names ingest and the route, and sends to a URL that the route allows."""
    (read,) = load([route(tmp_path, "1.yaml", "a", url="https://*.example.com/hooks/")])
    line = curl_line("http://127.0.0.1:8080", read)
    assert line.startswith("curl -i http://127.0.0.1:8080/v1/routes/default/a/messages ")
    assert "https://www.example.com/hooks/" in line


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_other_hosts_than_loopback_are_warned_about(host: str, expected: bool) -> None:
    """What other machines can reach has no authentication."""
    assert is_loopback(host) is expected
