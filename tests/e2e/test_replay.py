"""Dead letters sent again by a ChaskiReplay: a real Job, in a namespace that takes restricted Pods only."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from e2e.test_delivery import letters, table_of
from support.clusterpods import PRIVATE, Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, SUBJECTS, EACH = "mended", 3, 8
LETTERS = SUBJECTS * EACH


def replay(team: Team, name: str, **spec: Any) -> None:
    """`kubectl apply` of a ChaskiReplay of everything; `spec` says what is different."""
    team.cluster.apply(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiReplay",
            "metadata": {"name": name, "namespace": team.namespace},
            "spec": {"routeRef": {"name": ROUTE}, "filter": {}} | spec,
        }
    )


def status(team: Team, name: str) -> Mapping[str, Any]:
    """Its status."""
    found: Mapping[str, Any] = team.cluster.get("chaskireplay", "-n", team.namespace, name).get("status") or {}
    return found


def complete(team: Team, name: str) -> Mapping[str, Any]:
    """Waits as a person would; its counts."""
    arguments = ("wait", "-n", team.namespace, "--for=condition=Complete", f"chaskireplay/{name}", "--timeout=180s")
    waited = team.cluster.try_kubectl(*arguments, seconds=210)
    described = team.cluster.try_kubectl("describe", "chaskireplay,jobs,pods", "-n", team.namespace).stdout
    assert waited.returncode == 0, f"{waited.stderr}\n{described[-6000:]}\n{team.cluster.state()}"
    counts: Mapping[str, Any] = status(team, name)["counts"]
    return counts


def counts(**given: int) -> dict[str, int]:
    """All counts; those that are not given are 0."""
    return dict.fromkeys(("selected", "replayed", "skipped", "refused", "remaining"), 0) | given


def test_a_mended_target_gets_what_it_missed(team: Team, report: Callable[[str], None]) -> None:
    """Looked at, sent elsewhere in order, skipped the second time; one that is deleted stops."""
    allow = [{"name": name, "url": f"{team.target}/{name}", "cidrs": PRIVATE} for name in ("500", "200")]
    team.route(ROUTE, targets={"allow": allow}, retry={"rungs": [], "ladders": []}, autoscaling={"minReplicas": 1})
    team.cluster.ready(team.namespace, ROUTE)
    sender = team.begin_sending(ROUTE, [(f"s{n}", f"{team.target}/500", 0, EACH) for n in range(SUBJECTS)])
    assert team.sent(sender)["accepted"] == LETTERS
    table = team.cluster.until("the table in the route's status", lambda: table_of(team, ROUTE))
    team.cluster.until("all are dead letters", lambda: letters(team.cluster, table) == LETTERS, 180)
    replay(team, "look", dryRun=True)
    assert complete(team, "look") == counts(selected=LETTERS, remaining=LETTERS)
    replay(team, "run", toURL=f"{team.target}/200", ratePerSecond=10)
    assert complete(team, "run") == counts(selected=LETTERS, replayed=LETTERS)
    team.cluster.until("all delivered", lambda: team.seen()["requests"].get("200") == LETTERS, 180)
    assert team.seen()["seen"] == {f"s{n}": [*range(EACH), *range(EACH)] for n in range(SUBJECTS)}
    replay(team, "second")
    assert complete(team, "second") == counts(selected=LETTERS, skipped=LETTERS)

    replay(team, "stopped", again=True, toURL=f"{team.target}/200", ratePerSecond=1)
    team.cluster.until("the replay at work", lambda: status(team, "stopped").get("phase") == "Running", 120)
    team.cluster.kubectl("delete", "chaskireplay", "-n", team.namespace, "stopped")

    def gone() -> bool:
        left = team.cluster.get("pods", "-n", team.namespace, "-l", "chaski.dev/replay=stopped")["items"]
        return not left

    team.cluster.until("no Pod of a replay that was deleted", gone, 120)
    again = team.seen()["requests"]["200"] - LETTERS
    assert again < LETTERS
    report(f"{LETTERS} dead letters: looked at, sent again in order, skipped; a deleted replay stopped after {again}")


def test_what_a_replay_waits_for_is_told(team: Team) -> None:
    """By the columns that `kubectl get` prints."""
    replay(team, "early")
    says = "no ChaskiRoute mended"
    team.cluster.until("why it waits", lambda: says in status(team, "early").get("message", ""), 60)
    shown = team.cluster.kubectl("get", "chaskireplays", "-n", team.namespace)
    assert shown.split()[:7] == ["NAME", "ROUTE", "DRY-RUN", "PHASE", "REPLAYED", "SELECTED", "AGE"]
    assert "Pending" in shown
