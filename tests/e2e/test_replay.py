"""Dead letters sent again by a ChaskiReplay: a real Job, in a namespace that takes restricted Pods only."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from e2e.test_delivery import letters, table_of
from support.cluster.pods import PRIVATE, Team

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


def pods(team: Team, name: str) -> list[str]:
    """Its Pods that have not ended."""
    items = team.cluster.get("pods", "-n", team.namespace, "-l", f"chaski.dev/replay={name}")["items"]
    return [each["metadata"]["name"] for each in items if each["status"]["phase"] in ("Pending", "Running")]


def kill_pod(team: Team, name: str) -> None:
    """Kills its Pod without notice."""
    (pod,) = pods(team, name)
    team.cluster.kubectl("delete", "pod", "-n", team.namespace, pod, "--force", "--grace-period=0")


def suspend(team: Team, name: str, told: str) -> None:
    """Sets `spec.suspend`."""
    patch = f'{{"spec": {{"suspend": {told}}}}}'
    team.cluster.kubectl("patch", "chaskireplay", "-n", team.namespace, name, "--type=merge", "-p", patch)


def in_phase(team: Team, name: str, phase: str) -> None:
    """Waits until it says so."""
    team.cluster.until(f"{name} {phase}", lambda: status(team, name).get("phase") == phase, 120)


def test_a_mended_target_gets_what_it_missed(team: Team, report: Callable[[str], None]) -> None:
    """Looked at; sent elsewhere in order though its Pod is killed; skipped the second time; suspended, resumed, deleted."""
    allow = [{"name": name, "url": f"{team.target}/{name}", "cidrs": PRIVATE} for name in ("500", "200")]
    team.route(ROUTE, targets={"allow": allow}, retry={"rungs": [], "ladders": []}, autoscaling={"minReplicas": 1})
    team.cluster.ready(team.namespace, ROUTE)
    sender = team.begin_sending(ROUTE, [(f"s{n}", f"{team.target}/500", 0, EACH) for n in range(SUBJECTS)])
    assert team.sent(sender)["accepted"] == LETTERS
    table = team.cluster.until("the table in the route's status", lambda: table_of(team, ROUTE))
    team.cluster.until("all are dead letters", lambda: letters(team.cluster, table) == LETTERS, 180)
    replay(team, "look", dryRun=True)
    assert complete(team, "look") == counts(selected=LETTERS, remaining=LETTERS)
    replay(team, "run", toURL=f"{team.target}/200", ratePerSecond=1)
    team.cluster.until("some sent", lambda: status(team, "run").get("counts", {}).get("replayed", 0) >= 4, 120)
    kill_pod(team, "run")
    assert complete(team, "run") == counts(selected=LETTERS, replayed=LETTERS)
    team.cluster.until("all delivered", lambda: team.seen()["requests"].get("200") == LETTERS, 180)
    assert team.seen()["seen"] == {f"s{n}": [*range(EACH), *range(EACH)] for n in range(SUBJECTS)}
    replay(team, "second")
    assert complete(team, "second") == counts(selected=LETTERS, skipped=LETTERS)

    replay(team, "stopped", again=True, toURL=f"{team.target}/200", ratePerSecond=1)
    in_phase(team, "stopped", "Running")
    suspend(team, "stopped", "true")
    in_phase(team, "stopped", "Suspended")
    team.cluster.until("no Pod of a suspended replay", lambda: not pods(team, "stopped"), 120)
    suspend(team, "stopped", "false")
    in_phase(team, "stopped", "Running")
    team.cluster.kubectl("delete", "chaskireplay", "-n", team.namespace, "stopped")
    team.cluster.until("no Pod of a replay that was deleted", lambda: not pods(team, "stopped"), 120)
    again = team.seen()["requests"]["200"] - LETTERS
    assert again < LETTERS
    report(
        f"{LETTERS} dead letters: looked at, sent again in order over a killed Pod, skipped; one that was deleted stopped after {again}"
    )


def test_what_a_replay_waits_for_is_told(team: Team) -> None:
    """By the columns that `kubectl get` prints."""
    replay(team, "early")
    says = "no ChaskiRoute mended"
    team.cluster.until("why it waits", lambda: says in status(team, "early").get("message", ""), 60)
    shown = team.cluster.kubectl("get", "chaskireplays", "-n", team.namespace)
    assert shown.split()[:7] == ["NAME", "ROUTE", "DRY-RUN", "PHASE", "REPLAYED", "SELECTED", "AGE"]
    assert "Pending" in shown
