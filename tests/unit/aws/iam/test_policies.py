"""The policy files of the documentation are those that `chaski iam policy` prints."""

import json
from pathlib import Path

import pytest

from chaski_aws.iam.permissions import Role
from chaski_aws.iam.policies import Place, policy_of, scope_by_names, scope_by_tags, scope_of_installation
from chaski_aws.names import namespace_prefix
from chaski_core.route.resolved import Generation, ResolvedRoute
from support.operator.provisioning import route_of

FOLDER = Path(__file__).resolve().parents[4] / "docs" / "iam"
SCOPES = {
    Role.worker: scope_by_tags("INSTALLATION"),
    Role.replayer: scope_by_tags("INSTALLATION"),
    Role.subjects: scope_of_installation("INSTALLATION"),
    Role.reader: scope_of_installation("INSTALLATION"),
    Role.ingest: scope_of_installation("INSTALLATION"),
    Role.console: scope_of_installation("INSTALLATION"),
    Role.operator: scope_of_installation("INSTALLATION"),
}


@pytest.mark.parametrize("role", Role)
def test_the_files_of_the_documentation_are_what_the_command_prints(role: Role) -> None:
    """With INSTALLATION to be replaced: unreplaced they allow nothing that exists."""
    name = "provisioner" if role is Role.operator else role.value
    assert json.loads((FOLDER / f"{name}.json").read_text("utf-8")) == policy_of(role, SCOPES[role], Place())


@pytest.mark.promise(14)
def test_names_of_earlier_releases_are_added_one_by_one() -> None:
    """Only those of the namespaces that the role is for, and never by a pattern."""
    queue, table = "chaski-help-orders-m-g1-p0-00000000.fifo", "chaski-help-orders-00000000"
    new = f"{namespace_prefix('uid', 'help')}orders-m-g2-p0-0000000000000000.fifo"
    url = "https://sqs.eu-west-1.amazonaws.com/111122223333/"
    generations = (Generation(1, {"m": (url + queue,)}), Generation(2, {"m": (url + new,)}))
    routes = [
        ResolvedRoute(route_of("orders", "help"), generations, (), dead_letter_table=table),
        ResolvedRoute(route_of("orders", "other"), generations, (), dead_letter_table="chaski-other-orders-11111111"),
    ]
    scope = scope_by_names("uid", ["help"], routes)
    assert scope.queues == (f"{namespace_prefix('uid', 'help')}*", queue)
    assert scope.tables == (f"{namespace_prefix('uid', 'help')}*", table)
