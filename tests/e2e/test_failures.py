"""Failures show their cause in `kubectl describe chaskiroute`. After the fix the route is Ready and no longer shows it."""

from collections.abc import Iterator

import pytest

from support.cluster.cluster import Cluster
from support.cluster.pods import TeamNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def restored(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, whose release is restored after the test."""
    yield installed
    installed.install()


def described(team: TeamNamespace, route: str) -> str:
    """The current description of a route in lower case, without events, which describe the past."""
    return team.described(route).partition("\nEvents:")[0].lower()


def wait_for_words(team: TeamNamespace, route: str, *words: str) -> None:
    """Waits until the description contains all of these words."""

    def described_so() -> bool:
        text = described(team, route)
        return all(word.lower() in text for word in words)

    try:
        team.cluster.until(f"{words} in the description", described_so, 180)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{team.described(route)}") from error


def wait_until_ready_without(team: TeamNamespace, route: str, *words: str) -> None:
    """Waits until the route is Ready; then the description contains none of these words."""
    team.cluster.ready(team.namespace, route, 240)
    text = described(team, route)
    assert [word for word in words if word.lower() in text] == [], text


def test_a_permission_that_the_operator_lacks_is_named(team: TeamNamespace, restored: Cluster) -> None:
    """The action and the principal, from AWS's error message; with the permission the route becomes Ready."""
    restored.install("--set", f"aws.endpoints.sqs={team.serve('deny', 'deny.py')}")
    team.route("denied", autoscaling={"minReplicas": 1})
    who = "arn:aws:sts::111122223333:assumed-role/chaski-operator/test"
    words = ("AccessDenied", f"{who} is not authorized to perform: sqs:")
    wait_for_words(team, "denied", *words)
    restored.install()
    wait_until_ready_without(team, "denied", *words)


def test_an_image_that_is_missing_is_named(team: TeamNamespace, restored: Cluster) -> None:
    """The kubelet's reason and the image; with an existing image the workers run."""
    restored.install("--set", "workers.image.digest=", "--set", "workers.image.tag=no-such-tag")
    team.route("imageless", autoscaling={"minReplicas": 1})
    words = ("ImagePull", "localhost/chaski/worker:no-such-tag")
    wait_for_words(team, "imageless", *words)
    restored.install()
    wait_until_ready_without(team, "imageless", *words)


def test_a_node_without_capacity_is_reported(team: TeamNamespace) -> None:
    """The missing resource, from the scheduler's message; with a smaller request the Pods are scheduled."""

    def asking_for(cpu: str) -> None:
        team.route("hungry", autoscaling={"minReplicas": 1}, workers={"resources": {"requests": {"cpu": cpu}}})

    asking_for("1000")
    words = ("Unschedulable", "Insufficient cpu")
    wait_for_words(team, "hungry", *words)
    pods = team.cluster.get("pods", "-n", team.namespace, "-l", "chaski.dev/route=hungry")["items"]
    assert {each["status"]["phase"] for each in pods} == {"Pending"}
    asking_for("10m")
    wait_until_ready_without(team, "hungry", *words)
