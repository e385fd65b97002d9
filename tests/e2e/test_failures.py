"""What goes wrong shows its cause in `kubectl describe chaskiroute`, in words that lead to what to do.

Each time that is then done, and the route is Ready and says nothing of it any more.
"""

from collections.abc import Iterator

import pytest

from support.cluster.cluster import Cluster
from support.cluster.pods import Team

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1900)]


@pytest.fixture
def mended(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, whose release is as it was when the test is over."""
    yield installed
    installed.install()


def described(team: Team, route: str) -> str:
    """What is said of a route now, in small letters; events, which tell of what was, are left out."""
    return team.described(route).partition("\nEvents:")[0].lower()


def says(team: Team, route: str, *words: str) -> None:
    """Waits until the description holds all of these words."""

    def told() -> bool:
        text = described(team, route)
        return all(word.lower() in text for word in words)

    try:
        team.cluster.until(f"{words} in the description", told, 180)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{team.described(route)}") from error


def is_well(team: Team, route: str, *words: str) -> None:
    """Waits until the route is Ready; then the description holds none of these words."""
    team.cluster.ready(team.namespace, route, 240)
    text = described(team, route)
    assert [word for word in words if word.lower() in text] == [], text


def test_a_permission_that_the_operator_lacks_is_named(team: Team, mended: Cluster) -> None:
    """The action and who is not allowed to do it, as AWS said it; with the permission the route is made."""
    mended.install("--set", f"aws.endpoints.sqs={team.serve('deny', 'deny.py')}")
    team.route("denied", autoscaling={"minReplicas": 1})
    who = "arn:aws:sts::111122223333:assumed-role/chaski-operator/test"
    words = ("AccessDenied", f"{who} is not authorized to perform: sqs:")
    says(team, "denied", *words)
    mended.install()
    is_well(team, "denied", *words)


def test_an_image_that_is_missing_is_named(team: Team, mended: Cluster) -> None:
    """The kubelet's own reason, and the image; with one that is there workers run."""
    mended.install("--set", "workers.image.tag=no-such-tag")
    team.route("imageless", autoscaling={"minReplicas": 1})
    words = ("ImagePull", "localhost/chaski/worker:no-such-tag")
    says(team, "imageless", *words)
    mended.install()
    is_well(team, "imageless", *words)


def test_a_node_without_space_is_told_of(team: Team) -> None:
    """What is short, in the scheduler's own words; with less to ask for the Pods find room."""

    def asking_for(cpu: str) -> None:
        team.route("hungry", autoscaling={"minReplicas": 1}, workers={"resources": {"requests": {"cpu": cpu}}})

    asking_for("1000")
    words = ("Unschedulable", "Insufficient cpu")
    says(team, "hungry", *words)
    pods = team.cluster.get("pods", "-n", team.namespace, "-l", "chaski.dev/route=hungry")["items"]
    assert {each["status"]["phase"] for each in pods} == {"Pending"}
    asking_for("10m")
    is_well(team, "hungry", *words)
