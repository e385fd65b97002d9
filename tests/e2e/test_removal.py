"""What is kept after an uninstallation, and how to remove all of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster.cluster import SYSTEM, Cluster
from support.cluster.hardened import prepare
from support.cluster.namespaces import Namespaces
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def reinstalled(installed: Cluster, namespaces: Namespaces) -> Iterator[Cluster]:
    """The cluster, with the release installed again after the test."""
    yield installed
    prepare(installed, namespaces.names)
    installed.install()


def test_uninstalling_keeps_everything_and_the_documented_way_removes_it(
    team: TeamNamespace, reinstalled: Cluster
) -> None:
    """Queues, tables, routes and workers are kept; the steps of docs/install.md remove everything."""
    cluster = reinstalled
    team.route("kept", autoscaling={"minReplicas": 1})
    cluster.ready(team.namespace, "kept")
    queues, table = resources_of(team, "kept")
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
        "the operator's finalizer on the route",
        lambda: cluster.kubectl("get", "chaskiroute", "-n", team.namespace, "kept", "-o", f"jsonpath={finalizers}"),
    )
    cluster.kubectl("delete", "chaskiroute", "-n", team.namespace, "kept", "--timeout=180s", seconds=200)
    cluster.until("no queues", lambda: not queues & existing_queues(cluster))
    cluster.until("no table", lambda: table not in cluster.aws("dynamodb").list_tables()["TableNames"])

    cluster.helm("uninstall", "chaski", "-n", SYSTEM, "--wait")
    definitions = ("chaskireplays.chaski.dev", "chaskiroutes.chaski.dev", "chaskipolicies.chaski.dev")
    cluster.kubectl("delete", "crd", *definitions, "--timeout=120s", seconds=150)
    cluster.kubectl("delete", "namespace", SYSTEM, "--timeout=180s", seconds=200)
    kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,deployment,service,serviceaccount,configmap,secret"
    left = cluster.get(kinds, "--all-namespaces")["items"]
    assert [each["metadata"]["name"] for each in left if each["metadata"]["name"].startswith("chaski")] == []


def resources_of(team: TeamNamespace, route: str) -> tuple[set[str], str]:
    """Names of a route's queues and of its table, from its status."""

    def urls(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {found for each in value.values() for found in urls(each)}
        if isinstance(value, list):
            return {found for each in value for found in urls(each)}
        return {value.rpartition("/")[2]} if isinstance(value, str) and value.endswith(".fifo") else set()

    resolved = team.status(route)["resolved"]
    return urls(resolved), resolved["deadLetterTable"]


def existing_queues(cluster: Cluster) -> set[str]:
    """Names of all existing queues."""
    pages = cluster.aws("sqs").get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1000})
    return {url.rpartition("/")[2] for page in pages for url in page.get("QueueUrls", [])}
