"""What goes wrong shows its cause in `kubectl describe chaskiroute`, in words that lead to what to do."""

from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.clusterpods import Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def mended(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, whose release is as it was when the test is over."""
    yield installed
    installed.install()


def says(team: Team, route: str, *words: str) -> None:
    """Waits until the description holds all of these words."""

    def told() -> bool:
        text = team.described(route).lower()
        return all(word.lower() in text for word in words)

    try:
        team.cluster.until(f"{words} in the description", told, 180)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{team.described(route)}") from error


def test_a_permission_that_the_operator_lacks_is_named(team: Team, mended: Cluster) -> None:
    """The action and who is not allowed to do it, as AWS said it."""
    mended.install("--set", f"aws.endpoints.sqs={team.serve('deny', 'deny.py')}")
    team.route("denied")
    says(team, "denied", "AccessDenied", "not authorized to perform", "chaski-operator")


def test_an_image_that_is_missing_is_named(team: Team, mended: Cluster) -> None:
    """The kubelet's own reason, and the image."""
    mended.install("--set", "workers.image.tag=no-such-tag")
    team.route("imageless", autoscaling={"minReplicas": 1})
    says(team, "imageless", "ImagePull", "no-such-tag")


def test_a_node_without_space_is_told_of(team: Team) -> None:
    """What is short, in the scheduler's own words."""
    team.route("hungry", autoscaling={"minReplicas": 1}, workers={"resources": {"requests": {"cpu": "1000"}}})
    says(team, "hungry", "Unschedulable", "Insufficient cpu")
    pods = team.cluster.get("pods", "-n", team.namespace, "-l", "chaski.dev/route=hungry")["items"]
    assert {each["status"]["phase"] for each in pods} == {"Pending"}
