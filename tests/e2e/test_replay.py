"""Dead letters replayed by a ChaskiReplay: a real Job, in a namespace that enforces restricted Pods."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from e2e.test_delivery import count_dead_letters, table_of
from support.cluster.pods import PRIVATE, TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ROUTE, SUBJECTS, EACH = "replayed", 3, 8
DEAD_LETTERS = SUBJECTS * EACH


def replay(team: TeamNamespace, name: str, **spec: Any) -> None:
    """Applies a ChaskiReplay of all dead letters; `spec` overrides its fields."""
    team.cluster.apply(
        {
            "apiVersion": "chaski.dev/v1alpha1",
            "kind": "ChaskiReplay",
            "metadata": {"name": name, "namespace": team.namespace},
            "spec": {"routeRef": {"name": ROUTE}, "filter": {}} | spec,
        }
    )


def status(team: TeamNamespace, name: str) -> Mapping[str, Any]:
    """The status of a replay."""
    found: Mapping[str, Any] = team.cluster.get("chaskireplay", "-n", team.namespace, name).get("status") or {}
    return found


def complete(team: TeamNamespace, name: str) -> Mapping[str, Any]:
    """Waits with `kubectl wait`; returns the counts."""
    arguments = ("wait", "-n", team.namespace, "--for=condition=Complete", f"chaskireplay/{name}", "--timeout=180s")
    waited = team.cluster.try_kubectl(*arguments, seconds=210)
    described = team.cluster.try_kubectl("describe", "chaskireplay,jobs,pods", "-n", team.namespace).stdout
    assert waited.returncode == 0, f"{waited.stderr}\n{described[-6000:]}\n{team.cluster.state()}"
    counts: Mapping[str, Any] = status(team, name)["counts"]
    return counts


def counts(**given: int) -> dict[str, int]:
    """All counts, 0 by default."""
    return dict.fromkeys(("selected", "replayed", "skipped", "refused", "remaining"), 0) | given


def pods(team: TeamNamespace, name: str) -> list[str]:
    """Names of a replay's Pods that have not ended."""
    items = team.cluster.get("pods", "-n", team.namespace, "-l", f"chaski.dev/replay={name}")["items"]
    return [each["metadata"]["name"] for each in items if each["status"]["phase"] in ("Pending", "Running")]


def kill_pod(team: TeamNamespace, name: str) -> None:
    """Kills a replay's Pod without a grace period."""
    (pod,) = pods(team, name)
    team.cluster.kubectl("delete", "pod", "-n", team.namespace, pod, "--force", "--grace-period=0")


def suspend(team: TeamNamespace, name: str, value: str) -> None:
    """Sets `spec.suspend`."""
    patch = f'{{"spec": {{"suspend": {value}}}}}'
    team.cluster.kubectl("patch", "chaskireplay", "-n", team.namespace, name, "--type=merge", "-p", patch)


def in_phase(team: TeamNamespace, name: str, phase: str) -> None:
    """Waits for a phase."""
    team.cluster.until(f"{name} {phase}", lambda: status(team, name).get("phase") == phase, 120)


def test_a_fixed_target_gets_the_dead_letters(team: TeamNamespace, report: Callable[[str], None]) -> None:
    """A dry run; a run to another URL in order although its Pod is killed; a second run that skips; one that is suspended, resumed and deleted."""
    allow = [{"name": name, "url": f"{team.target}/{name}", "cidrs": PRIVATE} for name in ("500", "200")]
    team.route(ROUTE, targets={"allow": allow}, retry={"rungs": [], "ladders": []}, autoscaling={"minReplicas": 1})
    team.cluster.ready(team.namespace, ROUTE)
    sender = team.begin_sending(ROUTE, [(f"s{n}", f"{team.target}/500", 0, EACH) for n in range(SUBJECTS)])
    assert team.sent(sender)["accepted"] == DEAD_LETTERS
    table = team.cluster.until("the table in the route's status", lambda: table_of(team, ROUTE))
    team.cluster.until("all are dead letters", lambda: count_dead_letters(team.cluster, table) == DEAD_LETTERS, 180)
    replay(team, "dry", dryRun=True)
    assert complete(team, "dry") == counts(selected=DEAD_LETTERS, remaining=DEAD_LETTERS)
    replay(team, "run", toURL=f"{team.target}/200", ratePerSecond=1)
    team.cluster.until("some sent", lambda: status(team, "run").get("counts", {}).get("replayed", 0) >= 4, 120)
    kill_pod(team, "run")
    assert complete(team, "run") == counts(selected=DEAD_LETTERS, replayed=DEAD_LETTERS)
    team.cluster.until("all delivered", lambda: team.seen()["requests"].get("200") == DEAD_LETTERS, 180)
    assert team.seen()["seen"] == {f"s{n}": [*range(EACH), *range(EACH)] for n in range(SUBJECTS)}
    replay(team, "second")
    assert complete(team, "second") == counts(selected=DEAD_LETTERS, skipped=DEAD_LETTERS)

    replay(team, "stopped", again=True, toURL=f"{team.target}/200", ratePerSecond=1)
    in_phase(team, "stopped", "Running")
    suspend(team, "stopped", "true")
    in_phase(team, "stopped", "Suspended")
    team.cluster.until("no Pod of a suspended replay", lambda: not pods(team, "stopped"), 120)
    suspend(team, "stopped", "false")
    in_phase(team, "stopped", "Running")
    team.cluster.kubectl("delete", "chaskireplay", "-n", team.namespace, "stopped")
    team.cluster.until("no Pod of a replay that was deleted", lambda: not pods(team, "stopped"), 120)
    again = team.seen()["requests"]["200"] - DEAD_LETTERS
    assert again < DEAD_LETTERS
    report(
        f"{DEAD_LETTERS} dead letters: dry run, replayed in order over a killed Pod, skipped; a replay that was deleted stopped after {again}"
    )


def test_a_waiting_replay_reports_its_blocker(team: TeamNamespace) -> None:
    """In its message and in the columns of `kubectl get`."""
    replay(team, "early")

    def reasons() -> set[str]:
        return {each["reason"] for each in status(team, "early").get("conditions", [])}

    team.cluster.until("why it waits", lambda: "RouteNotFound" in reasons(), 60)
    shown = team.cluster.kubectl("get", "chaskireplays", "-n", team.namespace)
    assert shown.split()[:7] == ["NAME", "ROUTE", "DRY-RUN", "PHASE", "REPLAYED", "SELECTED", "AGE"]
    assert "Pending" in shown
