"""The Terraform module: its policies are those of `chaski iam policy`, and its files are well formed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chaski_aws.iam.permissions import PERMISSIONS, Role, actions_of
from chaski_aws.iam.policies import Place, policy_of, scope_by_names, scope_of_installation

MODULE = Path(__file__).resolve().parents[3] / "examples" / "terraform"


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, str]]:
    """The program, a copy of the module, and an environment without a user's settings."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed, and no package that these machines get has it")
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copytree(MODULE, folder / "module")
    (folder / "terraformrc").touch()
    settings = {"TF_CLI_CONFIG_FILE": str(folder / "terraformrc"), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    return program, folder / "module", os.environ | settings


def test_the_module_names_the_actions_of_every_role() -> None:
    """Read as text, so that it is checked where terraform is not installed."""
    text = (MODULE / "policies" / "main.tf").read_text("utf-8")
    roles = set(Role) - {Role.reader}  # a person's
    assert set(re.findall(r'"((?:sqs|dynamodb):\w+)"', text)) == {each for role in roles for each in actions_of(role)}
    assert "serviceaccount:*" not in "".join(each.read_text("utf-8") for each in MODULE.rglob("*.tf"))


@pytest.mark.landing
def test_the_files_are_formatted(terraform: tuple[str, Path, dict[str, str]]) -> None:
    """Which requires that they can be parsed."""
    program, folder, environment = terraform
    command = [program, "fmt", "-check", "-recursive", "-diff", str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.landing
@pytest.mark.promise(14)
def test_the_policies_are_those_of_the_command(terraform: tuple[str, Path, dict[str, str]]) -> None:
    """Evaluated by Terraform itself; the part with the policies needs no provider."""
    program, folder, environment = terraform

    def run(*arguments: str) -> str:
        command = [program, f"-chdir={folder / 'policies'}", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    given = {"installation": "uid", "namespaces": '["help","team-b"]', "account": "111122223333", "region": "eu-west-1"}
    run("init", "-input=false", "-backend=false")
    run("apply", "-auto-approve", "-input=false", *(f"-var={name}={value}" for name, value in given.items()))
    made: dict[str, Any] = {name: each["value"] for name, each in json.loads(run("output", "-json")).items()}
    place = Place("aws", "111122223333", "eu-west-1")
    for role in (Role.worker, Role.replayer):
        for namespace in ("help", "team-b"):
            expected = policy_of(role, scope_by_names("uid", [namespace]), place)
            assert json.loads(made["by_namespace"][role.value][namespace]) == expected
    for role in (Role.ingest, Role.console, Role.operator):
        assert json.loads(made["of_installation"][role.value]) == policy_of(role, scope_of_installation("uid"), place)
    assert set(made["by_namespace"]) | set(made["of_installation"]) == set(PERMISSIONS) - {Role.reader, Role.subjects}
    refused = [program, f"-chdir={folder / 'policies'}", "plan", "-input=false"]
    refused += [f"-var={name}={value}" for name, value in (given | {"namespaces": '["*"]'}).items()]
    ended = subprocess.run(refused, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "patterns are not allowed" in ended.stderr
