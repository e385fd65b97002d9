"""A real cluster with Chaski installed by its chart, made once for all tests here."""

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from support.cluster.cluster import SYSTEM, Cluster, bring_up, load_images, take_down
from support.cluster.pods import Team
from support.cluster.scale_to_zero import tide as tides

LAST = ("test_tide", "test_failures", "test_removal", "test_upheaval")


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
    made.end()


@pytest.fixture(scope="session")
def tide(installed: Cluster) -> Iterator[Future[tuple[Team, int]]]:
    """What `support.cluster.scale_to_zero` brings, once it is over."""
    with ThreadPoolExecutor(1, "tide") as threads:
        yield threads.submit(tides, installed)


@pytest.fixture(scope="session", autouse=True)
def _begun(request: pytest.FixtureRequest) -> None:
    """Begins before the first test what is only waited for later."""
    if any("tide" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("tide")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves for the end, in this order, the look at the tide and what starts the operator anew, which would disturb it."""
    items.sort(key=lambda item: LAST.index(item.path.stem) + 1 if item.path.stem in LAST else 0)
