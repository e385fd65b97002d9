"""The Terraform module: its policies are those of `chaski iam policy`, and its files are well formed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chaski_aws.iam.keys import key_statements
from chaski_aws.iam.permissions import PERMISSIONS, Role, actions_of
from chaski_aws.iam.policies import Place, policy_of, scope_by_names, scope_of_installation
from support.kube.charts import program

KEYS = tuple(f"arn:aws:kms:eu-west-1:111122223333:key/{name}" for name in ("a", "b"))
MODULE = Path(__file__).resolve().parents[3] / "examples" / "terraform"


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, str]]:
    """OpenTofu, which reads the same files as Terraform; a copy of the module; and an environment without a user's settings."""
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copytree(MODULE, folder / "module")
    (folder / "terraformrc").touch()
    settings = {"TF_CLI_CONFIG_FILE": str(folder / "terraformrc"), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    return program("tofu"), folder / "module", os.environ | settings


def test_the_module_names_the_actions_of_every_role() -> None:
    """Read as text, so that it is checked where OpenTofu is not built."""
    text = (MODULE / "policies" / "main.tf").read_text("utf-8")
    roles = set(Role) - {Role.reader}  # a person's
    assert set(re.findall(r'"((?:sqs|dynamodb):\w+)"', text)) == {each for role in roles for each in actions_of(role)}
    uses = [each["Action"] for role in roles for each in key_statements(role, KEYS, "aws")]
    assert set(re.findall(r'"(kms:[\w*]+)"', text)) - {"kms:ViaService"} == {
        each for actions in uses for each in actions
    }
    assert "serviceaccount:*" not in "".join(each.read_text("utf-8") for each in MODULE.rglob("*.tf"))


@pytest.mark.cluster
def test_the_files_are_formatted(terraform: tuple[str, Path, dict[str, str]]) -> None:
    """Which requires that they can be parsed."""
    tofu, folder, environment = terraform
    command = [tofu, "fmt", "-check", "-recursive", "-diff", str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.cluster
@pytest.mark.promise(14)
@pytest.mark.parametrize("keys", [pytest.param((), id="AWS's own keys"), pytest.param(KEYS, id="KMS keys")])
def test_the_policies_are_those_of_the_command(
    terraform: tuple[str, Path, dict[str, str]], keys: tuple[str, ...]
) -> None:
    """Evaluated by OpenTofu itself; the part with the policies needs no provider."""
    tofu, folder, environment = terraform

    def run(*arguments: str) -> str:
        command = [tofu, f"-chdir={folder / 'policies'}", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    given = {
        "installation": "uid",
        "namespaces": '["help","team-b"]',
        "account": "111122223333",
        "region": "eu-west-1",
        "kms_key_arns": json.dumps(keys),
    }
    run("init", "-input=false", "-backend=false")
    run("apply", "-auto-approve", "-input=false", *(f"-var={name}={value}" for name, value in given.items()))
    made: dict[str, Any] = {name: each["value"] for name, each in json.loads(run("output", "-json")).items()}
    place = Place("aws", "111122223333", "eu-west-1")
    for role in (Role.worker, Role.replayer):
        for namespace in ("help", "team-b"):
            expected = policy_of(role, scope_by_names("uid", [namespace]), place, keys)
            assert json.loads(made["by_namespace"][role.value][namespace]) == expected
    for role in (Role.ingest, Role.console, Role.operator):
        assert json.loads(made["of_installation"][role.value]) == policy_of(
            role, scope_of_installation("uid"), place, keys
        )
    assert set(made["by_namespace"]) | set(made["of_installation"]) == set(PERMISSIONS) - {Role.reader, Role.subjects}
    for name, value, reason in (
        ("namespaces", '["*"]', "patterns are not allowed"),
        ("kms_key_arns", '["alias/a"]', "not of an alias"),
    ):
        refused = [tofu, f"-chdir={folder / 'policies'}", "plan", "-input=false"]
        refused += [f"-var={each}={text}" for each, text in (given | {name: value}).items()]
        ended = subprocess.run(refused, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert reason in " ".join(ended.stderr.replace("│", "").split())
