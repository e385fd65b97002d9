"""A real cluster with Chaski installed by its chart, made once for all tests here."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import SYSTEM, Cluster, bring_up, load_images, take_down
from support.clusterpods import Team


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A one-node Kubernetes, brought up where it is not up already, and then ended. What that says is seen at once."""
    capturing = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled() if capturing else contextlib.nullcontext():
        sys.stderr.write("\n")
        began = bring_up()
    try:
        if not began:
            load_images()
        yield Cluster()
    finally:
        if began:
            take_down()


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with the release `chaski`, as this checkout's chart and images make it."""
    cluster.namespace(SYSTEM)
    cluster.install()
    return cluster


@pytest.fixture
def team(installed: Cluster, request: pytest.FixtureRequest) -> Iterator[Team]:
    """A team's namespace, labelled `restricted`, with a target. What it held is written down where the test fails."""
    name = Path(str(request.node.path)).stem.removeprefix("test_").replace("_", "-")
    made = Team(installed, name)
    yield made
    installed.try_kubectl("delete", "chaskiroutes", "--all", "-n", made.namespace, "--wait=true", "--timeout=60s")
    installed.try_kubectl("delete", "namespace", made.namespace, "--wait=false")
