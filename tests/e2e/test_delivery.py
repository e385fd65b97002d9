"""The experiment in the cluster, through the ingest Service; and `helm test`."""

import re
from collections.abc import Callable

import pytest

from chaski_cli.demo.experiment import EXPECTED, EXPECTED_FAILED_RETRIES, SUBJECT
from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.pods import PRIVATE, TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]

ENDPOINTS = list(EXPECTED)
RETRY = {
    "rungs": [{"name": name, "delaySeconds": delay} for delay, name in enumerate(("fast", "medium", "slow"), start=1)],
    "ladders": [
        {"class": "4xx", "retriesPerRung": 2, "rungs": ["fast", "medium"]},
        {"class": "5xx", "retriesPerRung": 5, "rungs": ["fast"]},
        {"class": "timeout", "retriesPerRung": 1, "rungs": ["fast", "medium", "slow"]},
    ],
}


@pytest.mark.promise(4)
def test_the_experiment_comes_out_exactly(team: TeamNamespace, report: Callable[[str], None]) -> None:
    """200 messages of one subject, 50 to each of four endpoints: counted at the target, in DynamoDB and by metrics."""
    allow = [{"name": each, "url": f"{team.target}/{each}", "cidrs": PRIVATE} for each in ENDPOINTS]
    team.route(
        "experiment",
        targets={"allow": allow},
        delivery={"timeoutSeconds": 1},
        retry=RETRY,
        subjectGroup={"pattern": "^(test_subject)$"},
        autoscaling={"minReplicas": 1, "maxReplicas": 1},
    )
    team.cluster.ready(team.namespace, "experiment")
    sender = team.begin_sending("experiment", [(SUBJECT, f"{team.target}/{each}", 0, 50) for each in ENDPOINTS])
    sent = team.sent(sender)
    assert sent["accepted"] == 200, sent

    requests = {each: row.requests for each, row in EXPECTED.items()}
    table = team.cluster.until("the table in the route's status", lambda: table_of(team, "experiment"))

    def settled() -> bool:
        return (
            sum(team.seen()["requests"].values()) >= sum(requests.values())
            and count_dead_letters(team.cluster, table) >= 150
        )

    team.cluster.until("800 requests and 150 dead letters", settled, 400)
    assert team.seen()["requests"] == requests
    assert count_dead_letters(team.cluster, table) == sum(row.dead_letters for row in EXPECTED.values())
    assert failed_retries(team) == EXPECTED_FAILED_RETRIES
    report(f"in the cluster: {requests} requests, 150 dead letters in DynamoDB; sent in {sent['seconds']} s")


def test_helm_test_delivers_a_message(installed: Cluster) -> None:
    """The check after an installation."""
    output = installed.helm("test", "chaski", "-n", SYSTEM, "--logs", "--timeout", "5m")
    assert "passed: one message was delivered" in output


def table_of(team: TeamNamespace, route: str) -> str | None:
    """The name of a route's DynamoDB table."""
    resolved = team.status(route).get("resolved") or {}
    return resolved.get("deadLetterTable")


def count_dead_letters(cluster: Cluster, table: str) -> int:
    """Number of dead letters in a table, which also has other items."""
    condition = "attribute_exists(deadLetteredAt)"
    scan = cluster.aws("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=table, ConsistentRead=True, FilterExpression=condition)
    return sum(page["Count"] for page in pages)


def failed_retries(team: TeamNamespace) -> dict[str, int]:
    """Failed attempts of the error-consumer by target, from its Pods' metrics."""
    pods = team.cluster.get("pods", "-n", team.namespace, "-l", "chaski.dev/stage=retry")["items"]
    found: dict[str, int] = {}
    for pod in pods:
        path = f"/api/v1/namespaces/{team.namespace}/pods/{pod['metadata']['name']}:9090/proxy/metrics"
        for line in team.cluster.kubectl("get", "--raw", path).splitlines():
            if line.startswith("chaski_attempts_total{") and 'stage="retry"' in line and 'outcome="failed"' in line:
                target = re.search(r'target="([^"]*)"', line)
                assert target is not None
                found[target[1]] = found.get(target[1], 0) + int(float(line.rpartition(" ")[2]))
    return found
