"""10,000 ordered messages while all components are killed, restarted, upgraded and rolled back."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

SUBJECTS, EACH = 50, 200
ALL = SUBJECTS * EACH
#: A third of the remaining messages is sent in about this time, as long as the disruption is going on.
PACE_SECONDS = 100
HARMLESS = (
    "connection: ",
    "answered 408",
    "answered 503",
    "answered 404",
    "answered 401",
    "answered 403",
    "answered 429",
)
WORKERS = "app.kubernetes.io/name=chaski-worker"
SYSTEM_PODS = "app.kubernetes.io/part-of=chaski,app.kubernetes.io/component in (operator, ingest)"
ROUTE = "disrupted"


@dataclass
class RollingDisruption:
    """Disrupts the system while a producer is sending, and records its progress."""

    team: TeamNamespace
    sender: str
    killed: int = 0
    steps: list[str] = field(default_factory=list)

    def accepted(self) -> int:
        """Messages that got 202 so far, according to the producer."""
        return self.team.sending(self.sender).get("accepted", 0)

    def during(self, what: str, act: Callable[[], None]) -> None:
        """Runs an action to its end, and checks that messages were accepted meanwhile and that more follow."""
        cluster, before = self.team.cluster, self.accepted()
        assert 0 < before < ALL
        act()
        cluster.until(f"messages after: {what}", lambda: self.accepted() > before, 120)
        assert self.accepted() < ALL, f"all was sent before the end of: {what}"
        self.steps.append(f"{what} at {before / ALL:.0%}")

    def kill_workers(self, *how: str) -> None:
        """Kills all workers at once; waits until as many others are ready."""
        before = self._workers()
        assert len(before) >= 2
        self.team.cluster.kubectl("delete", "pods", "-n", self.team.namespace, "-l", WORKERS, "--wait=false", *how)
        self.killed += len(before)

        def replaced() -> bool:
            after = self._workers()
            return not before.keys() & after.keys() and sum(map(_ready, after.values())) >= len(before)

        self.team.cluster.until("new workers", replaced, 180)

    def upgrade(self) -> None:
        """Upgrades to a release whose Pods all differ: another environment for the workers, other labels for the rest."""
        labels = ("--set", "operator.podLabels.release=next", "--set", "ingest.podLabels.release=next")
        self.team.cluster.install(*labels, "--set", "workers.env.RELEASE=next")
        self._rolled("next")

    def roll_back(self) -> None:
        """Rolls back to the previous revision."""
        self.team.cluster.helm("rollback", "chaski", "-n", SYSTEM, "--wait", "--timeout", "5m")
        self._rolled(None)

    def _rolled(self, release: str | None) -> None:
        """Waits until every Pod of the system and every worker is from a release, and ready."""

        def all_are() -> bool:
            workers = list(self._workers().values())
            system = self.team.cluster.get("pods", "-n", SYSTEM, "-l", SYSTEM_PODS)["items"]
            found = [_environment(pod).get("RELEASE") for pod in workers]
            found += [pod["metadata"]["labels"].get("release") for pod in system]
            return bool(workers) and set(found) == {release} and all(map(_ready, workers))

        self.team.cluster.until(f"Pods of the release {release or 'before'} only", all_are, 300)

    def _workers(self) -> dict[str, Any]:
        items = self.team.cluster.get("pods", "-n", self.team.namespace, "-l", WORKERS)["items"]
        return {pod["metadata"]["uid"]: pod for pod in items}


@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_nothing_is_lost_and_order_is_kept_while_everything_restarts(
    team: TeamNamespace, report: Callable[[str], None]
) -> None:
    """Workers killed, ingest rolled, the operator restarted, an upgrade and a rollback."""
    team.route(
        ROUTE,
        queues=[{"name": "messages", "partitions": 2}],
        delivery={"timeoutSeconds": 5},
        autoscaling={"minReplicas": 2, "maxReplicas": 3},
    )
    team.cluster.ready(team.namespace, ROUTE)
    plan = [(f"s{n}", f"{team.target}/uneven", 0, EACH) for n in range(SUBJECTS)]
    began = time.monotonic()
    sender = team.begin_sending(ROUTE, plan, retry_seconds=300, pace_seconds=PACE_SECONDS)
    disruption = RollingDisruption(team, sender)
    team.cluster.until("the first messages", lambda: arrived(team) > 200, 120)
    disruption.during("workers killed", lambda: disruption.kill_workers("--grace-period=0", "--force"))
    disruption.during("ingest rolled", lambda: roll(team.cluster, "deployment/chaski-ingest"))
    disruption.during("operator restarted", lambda: roll(team.cluster, "deployment/chaski-operator"))
    disruption.during("upgraded", disruption.upgrade)
    # The kubelet gives a Pod that is deleted by force its full grace period; one second ends processes during requests of three.
    disruption.during("workers killed during requests", lambda: disruption.kill_workers("--grace-period=1"))
    disruption.during("rolled back", disruption.roll_back)
    team.hurry()
    sent = team.sent(sender, 600)
    team.cluster.until(f"all {ALL} messages", lambda: arrived(team) >= ALL, 600)
    seconds = time.monotonic() - began
    seen = team.seen()["seen"]
    report(
        f"{accounts(sent, seen)}; {disruption.killed} workers killed; {seconds:.0f} s; {', '.join(disruption.steps)}"
    )
    firsts = {subject: list(dict.fromkeys(each)) for subject, each in seen.items()}
    assert firsts == {f"s{n}": list(range(EACH)) for n in range(SUBJECTS)}
    assert sent["accepted"] == ALL
    assert [what for what in repeated_after(sent) if not what.startswith(HARMLESS)] == []


def accounts(sent: dict[str, Any], seen: dict[str, list[int]]) -> str:
    """The totals for the report."""
    firsts = [list(dict.fromkeys(each)) for each in seen.values()]
    delivered = sum(map(len, firsts))
    disorder = sum(one > next_one for each in firsts for one, next_one in itertools.pairwise(each))
    repeats = sum(map(len, seen.values())) - delivered
    again = repeated_after(sent)
    return (
        f"{sent['accepted']} accepted, {delivered} delivered, {sent['accepted'] - delivered} lost, {disorder} out of order, "
        f"{repeats} delivered again; {sum(again.values())} sends repeated by the producer {again}"
    )


def repeated_after(sent: dict[str, Any]) -> dict[str, int]:
    """Results of the producer's requests other than 202, with their numbers."""
    return {what: number for what, number in sent.items() if what not in ("seconds", "accepted")}


def arrived(team: TeamNamespace) -> int:
    """Messages that arrived, without repeats."""
    return sum(len(set(each)) for each in team.seen()["seen"].values())


def roll(cluster: Cluster, what: str) -> None:
    """Runs `kubectl rollout restart` and waits for its end."""
    cluster.kubectl("rollout", "restart", "-n", SYSTEM, what)
    cluster.kubectl("rollout", "status", "-n", SYSTEM, what, "--timeout=180s", seconds=200)


def _ready(pod: dict[str, Any]) -> bool:
    states = pod["status"].get("containerStatuses", [])
    return bool(states) and all(state["ready"] for state in states)


def _environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in pod["spec"]["containers"][0].get("env", [])}
