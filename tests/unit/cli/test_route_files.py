"""Route files."""

from pathlib import Path

import orjson
import pytest

from chaski_cli.route_files import check, load, retry_lines, run_validate
from chaski_runtime.process.command_error import CommandError, ExitCode


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


def test_a_route_in_two_files_is_an_error_of_the_second(tmp_path: Path) -> None:
    """The error names the route and the first file."""
    first, second = check([route(tmp_path, "1.yaml", "a"), route(tmp_path, "2.yaml", "a")])
    assert not first.errors
    assert "default/a" in second.errors[0].message
    assert "1.yaml" in second.errors[0].message


def test_foreign_documents_are_skipped_but_a_route_is_needed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`chaski dev` and `chaski validate` read the file that `kubectl apply` takes; a file without any of ours is a mistake."""
    both, other = tmp_path / "both.yaml", tmp_path / "other.yaml"
    other.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n")
    both.write_bytes(other.read_bytes() + b"---\n" + route(tmp_path, "1.yaml", "a").read_bytes())
    assert [each.key for each in load([both])] == ["default/a"]
    assert run_validate([both, other], (), as_json=False) is ExitCode.OK
    out = capfd.readouterr().out
    assert "skipped: Namespace (v1)" in out
    assert "other.yaml: nothing to check" in out
    with pytest.raises(CommandError, match="has no ChaskiRoute"):
        load([other])
    with pytest.raises(CommandError, match="no ChaskiRoute, ChaskiPolicy or ChaskiReplay"):
        run_validate([other], (), as_json=True)


def test_every_error_of_every_file_is_reported(tmp_path: Path) -> None:
    """Nothing is loaded if one file is invalid."""
    (tmp_path / "latin.yaml").write_bytes(b"\xe9")
    files = [tmp_path / "missing.yaml", tmp_path / "latin.yaml", route(tmp_path, "wrong.yaml", "UPPER")]
    with pytest.raises(CommandError) as caught:
        load([route(tmp_path, "right.yaml", "a"), *files])
    assert caught.value.exit_code is ExitCode.WRONG_INPUT
    for part in ("missing.yaml", "latin.yaml", "UTF-8", "wrong.yaml", "metadata.name"):
        assert part in str(caught.value)
    assert "right.yaml" not in str(caught.value)


def test_the_ladders_in_force_are_listed(tmp_path: Path) -> None:
    """Those of the release where the file has no `retry`; ladders with the same rungs together."""
    (default,) = load([route(tmp_path, "1.yaml", "a")])
    assert retry_lines(default) == [
        "default/a: 5xx, 408, 425, 429, timeout, connection, tls: retried after 5 s, 1 min, 15 min, 1 h, 6 h, 24 h",
        "default/a: 4xx: retried after 1 min, 15 min",
        "default/a: 410: not retried",
    ]
    text = route(tmp_path, "2.yaml", "b").read_bytes()
    own = {
        "rungs": [{"name": "r", "delaySeconds": 90}],
        "ladders": [{"class": "any", "retriesPerRung": 3, "rungs": ["r"]}],
    }
    for retry, lines in (
        (own, ["default/b: any: retried after 3 x 90 s"]),
        ({"rungs": [], "ladders": []}, ["default/b: not retried"]),
    ):
        document = orjson.loads(text)
        document["spec"]["retry"] = retry
        (tmp_path / "2.yaml").write_bytes(orjson.dumps(document))
        (declared,) = load([tmp_path / "2.yaml"])
        assert retry_lines(declared) == lines
