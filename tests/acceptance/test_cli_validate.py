"""`chaski validate`, `--version` and `--help`."""

from pathlib import Path

import pytest

from acceptance.cli_process import chaski, write_route

QUICK = {
    "rungs": [{"name": name, "delaySeconds": 5} for name in ("fast", "medium", "slow")],
    "ladders": [{"class": "4xx", "retriesPerRung": 1, "rungs": ["quick"]}],
}
NONE = {"rungs": [], "ladders": []}


async def test_a_valid_route_passes(tmp_path: Path) -> None:
    """Exit code 0, and the route is named."""
    ended = await chaski("validate", write_route(tmp_path, "http://127.0.0.1:9000/"))
    assert ended.code == 0, ended.err
    assert "default/first" in ended.out
    listed = await chaski("validate", write_route(tmp_path, "http://127.0.0.1:9000/", retry=NONE), "--output", "json")
    assert listed.json()[0]["retry"] == {"default/first": {**NONE, "maxRetryAfterSeconds": 3600}}


async def test_every_error_is_named_with_its_path(tmp_path: Path) -> None:
    """Errors of the schema and of cross-field rules, as text and JSON."""
    route = write_route(tmp_path, "http://127.0.0.1:9000/", retry=QUICK)
    ended = await chaski("validate", route)
    assert ended.code == 2
    assert "spec.retry.ladders[0].rungs[0]" in ended.out
    assert '"quick"' in ended.out
    listed = await chaski("validate", route, "--output", "json")
    assert listed.code == 2
    (entry,) = listed.json()
    assert entry["valid"] is False
    assert [fault["field"] for fault in entry["faults"]] == ["spec.retry.ladders[0].rungs[0]"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param("a: [", "route.yaml", id="no YAML"),
        pytest.param("kind: Other\napiVersion: v1\n", "kind", id="another kind"),
        pytest.param("", "route.yaml", id="nothing"),
    ],
)
async def test_other_content_is_refused(tmp_path: Path, content: str, named: str) -> None:
    """Exit code 2, never a traceback."""
    (tmp_path / "route.yaml").write_text(content)
    ended = await chaski("validate", tmp_path / "route.yaml")
    assert ended.code == 2
    assert named in ended.out + ended.err
    assert "Traceback" not in ended.err


async def test_a_missing_file_is_named() -> None:
    """Exit code 2, with the name as given."""
    ended = await chaski("validate", "missing.yaml")
    assert ended.code == 2
    assert "missing.yaml" in ended.out + ended.err


async def test_the_version_is_printed() -> None:
    """One line."""
    ended = await chaski("--version")
    assert ended.code == 0
    assert ended.out.startswith("chaski 0.")


@pytest.mark.parametrize("command", ["dev", "demo", "send", "validate", "trace", "dead-letters list"])
async def test_help_has_an_example(command: str) -> None:
    """For every command."""
    ended = await chaski(*command.split(), "--help")
    assert ended.code == 0
    assert f"Example: chaski {command}" in ended.out
