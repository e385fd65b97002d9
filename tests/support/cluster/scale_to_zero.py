"""A route whose workers come with the work and go when it is done, watched from its beginning to its end."""

from support.cluster.cluster import Cluster
from support.cluster.pods import Team

SUBJECTS, OF_EACH = 40, 30


def tide(cluster: Cluster) -> tuple[Team, int]:
    """Sends to a route that has no workers, until it has none again: minutes, of which it waits most.

    Returns:
        The team, whose target tells what came; and how many workers there were at most.
    """
    team = Team(cluster, "tide")
    team.route(
        "tide",
        queues=[{"name": "messages", "partitions": 2}],
        delivery={"concurrencyPerPod": 4},
        autoscaling={"minReplicas": 0, "maxReplicas": 2, "targetDrainSeconds": 5, "scaleToZeroAfterSeconds": 60},
    )
    cluster.ready(team.namespace, "tide")
    cluster.until("no Pods while there is nothing to do", lambda: team.replicas("tide") == 0, 300)
    sender = team.begin_sending("tide", [(f"tide-{n}", f"{team.target}/slow", 0, OF_EACH) for n in range(SUBJECTS)])
    most = 0

    def arrived() -> bool:
        nonlocal most
        most = max(most, team.replicas("tide"))
        return sum(len(each) for each in team.seen()["seen"].values()) >= SUBJECTS * OF_EACH

    cluster.until("all messages at the target", arrived, 300)
    assert team.sent(sender)["accepted"] == SUBJECTS * OF_EACH
    # A Pod goes when it was not wanted for 20 seconds (hack/cluster/load), the last one when a minute brought nothing.
    cluster.until("no Pods when all is done", lambda: team.replicas("tide") == 0, 600)
    return team, most
