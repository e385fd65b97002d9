"""Two tenants on one cluster: nothing of a fixed list of actions against the other one, or the platform, succeeds."""

from collections.abc import Callable, Iterator

import pytest

from support.cluster.cluster import Cluster
from support.cluster.namespaces import Namespaces
from support.tenants.scene import Scene, set_up
from support.tenants.table import ACTIONS, totals

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture(scope="module")
def scene(installed: Cluster, namespaces: Namespaces, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Mallory's and Bob's routes, Ready."""
    made = set_up(installed, namespaces, tmp_path_factory.mktemp("tenants"))
    yield made
    for tenant in (made.mallory, made.bob):
        tenant.team.end()
    installed.kubectl("delete", "chaskipolicies", "--all")


@pytest.mark.promise(14)
def test_no_action_against_another_tenant_succeeds(scene: Scene, report: Callable[[str], None]) -> None:
    """Each is refused as documented, and is permitted to those who may do it: so it is the isolation that refuses it."""
    seen = [(action, action.attempt(scene), action.control(scene)) for action in ACTIONS]
    rows = [
        f"{number:2} {action.kind} by {action.means}: {action.text}: {refusal}; {action.control_text}: {permitted}"
        for number, (action, refusal, permitted) in enumerate(seen, 1)
    ]
    wrong = [
        f"{row}, not {action.refusal}; {action.permitted}"
        for row, (action, *results) in zip(rows, seen, strict=True)
        if results != [action.refusal, action.permitted]
    ]
    report("\n".join((totals(), *rows)))
    assert wrong == [], "\n" + "\n".join(wrong)
