"""What stays when the release goes, and how all of it is removed."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.pods import Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def reinstalled(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, into which the release comes back when the test is over."""
    yield installed
    installed.namespace(SYSTEM)
    installed.install()


def test_uninstalling_keeps_everything_and_the_documented_way_removes_it(team: Team, reinstalled: Cluster) -> None:
    """Queues, tables, routes and workers stay; what docs/install.md says removes all of it, and leaves nothing."""
    cluster = reinstalled
    team.route("kept", autoscaling={"minReplicas": 1})
    cluster.ready(team.namespace, "kept")
    queues, table = things(team, "kept")
    assert queues
    assert queues <= existing_queues(cluster)
    assert table in cluster.aws("dynamodb").list_tables()["TableNames"]

    cluster.helm("uninstall", "chaski", "-n", SYSTEM, "--wait")
    assert queues <= existing_queues(cluster)
    assert table in cluster.aws("dynamodb").list_tables()["TableNames"]
    assert cluster.get("chaskiroute", "-n", team.namespace, "kept")["status"]["resolved"]
    assert cluster.try_kubectl("get", "deployment", "-n", SYSTEM, "chaski-operator").returncode != 0
    assert team.replicas("kept") > 0

    cluster.install()
    cluster.ready(team.namespace, "kept")
    policy = '{"spec": {"deletionPolicy": "Delete"}}'
    cluster.kubectl("patch", "chaskiroute", "-n", team.namespace, "kept", "--type=merge", "-p", policy)
    finalizers = "{.metadata.finalizers}"
    cluster.until(
        "the operator's hold on the route",
        lambda: cluster.kubectl("get", "chaskiroute", "-n", team.namespace, "kept", "-o", f"jsonpath={finalizers}"),
    )
    cluster.kubectl("delete", "chaskiroute", "-n", team.namespace, "kept", "--timeout=180s", seconds=200)
    cluster.until("no queues", lambda: not queues & existing_queues(cluster))
    cluster.until("no table", lambda: table not in cluster.aws("dynamodb").list_tables()["TableNames"])

    cluster.helm("uninstall", "chaski", "-n", SYSTEM, "--wait")
    definitions = ("chaskireplays.chaski.dev", "chaskiroutes.chaski.dev")
    cluster.kubectl("delete", "crd", *definitions, "--timeout=120s", seconds=150)
    cluster.kubectl("delete", "namespace", SYSTEM, "--timeout=180s", seconds=200)
    kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,deployment,service,serviceaccount,configmap,secret"
    left = cluster.get(kinds, "--all-namespaces")["items"]
    assert [each["metadata"]["name"] for each in left if each["metadata"]["name"].startswith("chaski")] == []


def things(team: Team, route: str) -> tuple[set[str], str]:
    """URLs of a route's queues, without their host, and the name of its table, as its status tells them."""

    def urls(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {found for each in value.values() for found in urls(each)}
        if isinstance(value, list):
            return {found for each in value for found in urls(each)}
        return {value.rpartition("/")[2]} if isinstance(value, str) and value.endswith(".fifo") else set()

    resolved = team.status(route)["resolved"]
    return urls(resolved), resolved["deadLetterTable"]


def existing_queues(cluster: Cluster) -> set[str]:
    """Names of all queues that there are."""
    pages = cluster.aws("sqs").get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1000})
    return {url.rpartition("/")[2] for page in pages for url in page.get("QueueUrls", [])}
