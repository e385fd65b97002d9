"""10,000 ordered messages while everything that can be restarted is restarted."""

import json
import time
from collections.abc import Callable

import pytest

from support.cluster import SYSTEM, Cluster
from support.clusterpods import Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

SUBJECTS, EACH = 50, 200
HARMLESS = ("connection: ", "answered 503", "answered 404", "answered 401", "answered 403", "answered 429")


@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_nothing_is_lost_and_order_is_kept_while_everything_restarts(team: Team, report: Callable[[str], None]) -> None:
    """Workers killed without notice, ingest rolled, the operator restarted, an upgrade and a rollback."""
    cluster = team.cluster
    team.route(
        "upheaval",
        queues=[{"name": "messages", "partitions": 2}],
        delivery={"timeoutSeconds": 5},
        autoscaling={"minReplicas": 2, "maxReplicas": 3},
    )
    cluster.ready(team.namespace, "upheaval")
    plan = [(f"line-{n}", f"{team.target}/200", 0, EACH) for n in range(SUBJECTS)]
    sender = team.begin_sending("upheaval", plan, retry_seconds=300)
    began = time.monotonic()
    cluster.until("the first messages", lambda: arrived(team) > 200, 120)
    done: list[str] = []
    for what, act in deeds(team).items():
        before = arrived(team)
        act()
        done.append(f"{what} (at {before})")
    sent = team.sent(sender, 900)
    cluster.until(f"all {SUBJECTS * EACH} messages", lambda: arrived(team) >= SUBJECTS * EACH, 400)
    seen = team.seen()["seen"]
    firsts = {subject: list(dict.fromkeys(each)) for subject, each in seen.items()}
    assert firsts == {f"line-{n}": list(range(EACH)) for n in range(SUBJECTS)}
    assert sent["accepted"] == SUBJECTS * EACH
    odd = {what: number for what, number in sent.items() if what not in ("seconds", "accepted")}
    assert [what for what in odd if not what.startswith(HARMLESS)] == []
    repeats = sum(map(len, seen.values())) - SUBJECTS * EACH
    report(
        f"{SUBJECTS * EACH} messages, 0 lost, order kept, {repeats} delivered again; sent in {sent['seconds']} s, "
        f"all there after {time.monotonic() - began:.0f} s; while {'; '.join(done)}; the producer repeated after {odd}"
    )


def arrived(team: Team) -> int:
    """Messages that came, repeats not counted."""
    return sum(len(set(each)) for each in team.seen()["seen"].values())


def deeds(team: Team) -> dict[str, Callable[[], None]]:
    """What is done to the system, in order."""
    cluster = team.cluster
    return {
        "2 workers killed": lambda: kill_workers(team),
        "ingest rolled": lambda: roll(cluster, "deployment/chaski-ingest"),
        "operator restarted": lambda: roll(cluster, "deployment/chaski-operator"),
        "upgraded": lambda: upgrade(cluster),
        "workers killed again": lambda: kill_workers(team),
        "rolled back": lambda: roll_back(cluster),
    }


def kill_workers(team: Team) -> None:
    """All workers of the team's routes, at once and without notice; waits until others are there."""
    label = "app.kubernetes.io/name=chaski-worker"
    before = {each["metadata"]["uid"] for each in team.cluster.get("pods", "-n", team.namespace, "-l", label)["items"]}
    team.cluster.kubectl("delete", "pods", "-n", team.namespace, "-l", label, "--grace-period=0", "--force")

    def replaced() -> bool:
        pods = team.cluster.get("pods", "-n", team.namespace, "-l", label)["items"]
        new = [each for each in pods if each["metadata"]["uid"] not in before]
        return any(state.get("ready") for each in new for state in each["status"].get("containerStatuses", []))

    team.cluster.until("new workers", replaced, 120)


def roll(cluster: Cluster, what: str) -> None:
    """`kubectl rollout restart`, to its end."""
    cluster.kubectl("rollout", "restart", "-n", SYSTEM, what)
    cluster.kubectl("rollout", "status", "-n", SYSTEM, what, "--timeout=180s", seconds=200)


def upgrade(cluster: Cluster) -> None:
    """To a release whose Pods all differ: another environment for the workers, other labels for the rest."""
    worker = json.dumps("changed")
    cluster.install(
        *("--set", "operator.podLabels.release=next", "--set", "ingest.podLabels.release=next"),
        *("--set", f"workers.env.RELEASE={worker}"),
    )


def roll_back(cluster: Cluster) -> None:
    """To the revision before."""
    cluster.helm("rollback", "chaski", "-n", SYSTEM, "--wait", "--timeout", "5m")
