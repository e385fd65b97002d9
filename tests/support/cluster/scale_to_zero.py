"""A scenario of a route whose workers scale from zero with the load and back to zero."""

from support.cluster.cluster import Cluster
from support.cluster.pods import TeamNamespace

ROUTE, SUBJECTS, OF_EACH = "scaled", 40, 30


def run_scale_to_zero(cluster: Cluster, namespace: str) -> tuple[TeamNamespace, int]:
    """Sends to a route without workers and waits until it has none again, which takes minutes.

    Returns:
        The team's namespace, with the target, and the maximum number of workers.
    """
    team = TeamNamespace(cluster, namespace)
    team.route(
        ROUTE,
        queues=[{"name": "messages", "partitions": 2}],
        delivery={"concurrencyPerPod": 4},
        autoscaling={"minReplicas": 0, "maxReplicas": 2, "targetDrainSeconds": 5, "scaleToZeroAfterSeconds": 60},
    )
    cluster.ready(team.namespace, ROUTE)
    cluster.until("no Pods without messages", lambda: team.replicas(ROUTE) == 0, 300)
    sender = team.begin_sending(ROUTE, [(f"s{n}", f"{team.target}/slow", 0, OF_EACH) for n in range(SUBJECTS)])
    most = 0

    def arrived() -> bool:
        nonlocal most
        most = max(most, team.replicas(ROUTE))
        return sum(len(each) for each in team.seen()["seen"].values()) >= SUBJECTS * OF_EACH

    cluster.until("all messages at the target", arrived, 300)
    assert team.sent(sender)["accepted"] == SUBJECTS * OF_EACH
    # A Pod is removed when it was surplus for 20 seconds (hack/cluster/load), the last one after a minute without messages.
    cluster.until("no Pods after the last message", lambda: team.replicas(ROUTE) == 0, 600)
    return team, most
