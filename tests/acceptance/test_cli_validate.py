"""`chaski validate`, `--version` and `--help`."""

from pathlib import Path

import pytest
import yaml

from acceptance.cli_process import chaski, write_route
from support.operator.policies import DENIED, complying, policy

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
        pytest.param("kind: Other\napiVersion: v1\n", "skipped: Other (v1)", id="another kind"),
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


async def test_thirty_routes_are_denied_with_policy_and_field(tmp_path: Path) -> None:
    """The verdicts of the operator, for the same routes; exit code 1, since every route is valid."""
    (tmp_path / "policies.yaml").write_text(yaml.safe_dump(policy()))
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(complying("shop")))
    routes = [complying("shop", name, **spec) for name, (spec, _) in DENIED.items()]
    (tmp_path / "denied.yaml").write_text(yaml.safe_dump_all(routes))
    command = ("validate", tmp_path / "good.yaml", tmp_path / "denied.yaml", "--policy", tmp_path / "policies.yaml")
    listed = await chaski(*command, "--output", "json")
    assert listed.code == 1, listed.err
    good, denied = listed.json()
    assert (good["valid"], good["denied"], denied["valid"]) == (True, [], True)
    found = [(each["route"], each["policy"], each["field"]) for each in denied["denied"]]
    assert found == [(f"shop/{name}", "teams", field) for name, (_, fields) in DENIED.items() for field in fields]
    shown = await chaski(*command)
    assert shown.code == 1
    for name, _, field in found:
        assert f"{name}: denied: {field}: " in shown.out
    passed = await chaski("validate", tmp_path / "good.yaml", "--policy", tmp_path / "policies.yaml")
    assert (passed.code, "denied:" in passed.out) == (0, False)


async def test_namespaces_beside_policies_decide_which_apply(tmp_path: Path) -> None:
    """Without its Namespace a route must comply with every policy of the files."""
    spec, fields = DENIED["host"]
    (tmp_path / "route.yaml").write_text(yaml.safe_dump(complying("shop", **spec)))
    (tmp_path / "policies.yaml").write_text(yaml.safe_dump(policy(selector={"matchLabels": {"team": "a"}})))
    command = ("validate", tmp_path / "route.yaml", "--policy", tmp_path / "policies.yaml")
    assert (await chaski(*command)).code == 1
    for team, code in (("b", 0), ("a", 1)):
        labelled = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": team}}}
        (tmp_path / "namespaces.yaml").write_text(yaml.safe_dump_all([labelled, policy("own", allow={}, limits={})]))
        assert (await chaski(*command, "--policy", tmp_path / "namespaces.yaml")).code == code
    assert fields == ["spec.targets.allow[0].url"]


@pytest.mark.parametrize("text", ["", "kind: ChaskiPolicy", "a: ["])
async def test_an_invalid_policy_is_wrong_input(tmp_path: Path, text: str) -> None:
    """Exit code 2: no route passes by a typing error in the policy."""
    (tmp_path / "route.yaml").write_text(yaml.safe_dump(complying("shop")))
    (tmp_path / "policies.yaml").write_text(text)
    ended = await chaski("validate", tmp_path / "route.yaml", "--policy", tmp_path / "policies.yaml")
    assert ended.code == 2
    assert "policies.yaml" in ended.err
    assert (await chaski("validate", tmp_path / "route.yaml", "--policy", tmp_path / "none.yaml")).code == 2


async def test_an_invalid_route_is_wrong_input_also_with_policies(tmp_path: Path) -> None:
    """Its errors are reported, and nothing is judged."""
    (tmp_path / "route.yaml").write_text(yaml.safe_dump(complying("shop", queues=[])))
    (tmp_path / "policies.yaml").write_text(yaml.safe_dump(policy()))
    ended = await chaski("validate", tmp_path / "route.yaml", "--policy", tmp_path / "policies.yaml")
    assert ended.code == 2
    assert "denied" not in ended.out


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
