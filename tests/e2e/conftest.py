"""A real cluster with Chaski installed by its chart, created once for all tests here."""

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from support.cluster.cluster import Cluster, bring_up, load_images, take_down
from support.cluster.credentials import Renewal, run_renewal
from support.cluster.hardened import prepare
from support.cluster.namespaces import Namespaces
from support.cluster.pods import TeamNamespace
from support.cluster.scale_to_zero import run_scale_to_zero

IN_BACKGROUND = ("scaling", "renewal")  # fixtures that start before the first test
LAST = ("test_token_renewal", "test_scale_to_zero", "test_failures", "test_removal", "test_rolling_disruption")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A one-node Kubernetes, started unless it is running already, and then stopped. Its output is shown at once."""
    capturing = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled() if capturing else contextlib.nullcontext():
        sys.stderr.write("\n")
        started = bring_up()
    try:
        if not started:
            load_images()
        yield Cluster()
    finally:
        if started:
            take_down()


@pytest.fixture(scope="session")
def namespaces(request: pytest.FixtureRequest) -> Namespaces:
    """Those of all tests of the run."""
    using = [item for item in request.session.items if {"team", *IN_BACKGROUND} & set(item.fixturenames)]  # type: ignore[attr-defined]
    return Namespaces(map(_purpose, using))


def _purpose(item: pytest.Item) -> str:
    return item.path.stem.removeprefix("test_").replace("_", "-")


@pytest.fixture(scope="session")
def installed(cluster: Cluster, namespaces: Namespaces) -> Iterator[Cluster]:
    """The cluster with the release `chaski`, from this checkout's chart and images, for a cluster that teams share."""
    prepare(cluster, namespaces.names)
    cluster.install()
    yield cluster
    cluster.try_kubectl("delete", "namespaces", *sorted({*namespaces.names} - {"default"}), "--wait=false")


@pytest.fixture
def team(installed: Cluster, namespaces: Namespaces, request: pytest.FixtureRequest) -> Iterator[TeamNamespace]:
    """A team's namespace, labelled `restricted`, with a target."""
    made = TeamNamespace(installed, namespaces.take(_purpose(request.node)))
    yield made
    made.end()


@pytest.fixture(scope="session")
def scaling(installed: Cluster, namespaces: Namespaces) -> Iterator[Future[tuple[TeamNamespace, int]]]:
    """The result of `support.cluster.scale_to_zero`, once it is over."""
    with ThreadPoolExecutor(1, "scale-to-zero") as threads:
        yield threads.submit(run_scale_to_zero, installed, namespaces.take("scale-to-zero"))


@pytest.fixture(scope="session")
def renewal(installed: Cluster, namespaces: Namespaces) -> Iterator[Future[Renewal]]:
    """The result of `support.cluster.credentials.run_renewal`, once it is over."""
    with ThreadPoolExecutor(1, "token-renewal") as threads:
        yield threads.submit(run_renewal, installed, namespaces.take("token-renewal"))


@pytest.fixture(scope="session", autouse=True)
def _start_in_background(request: pytest.FixtureRequest) -> None:
    """Starts before the first test what only the last ones wait for."""
    for name in IN_BACKGROUND:
        if any(name in getattr(item, "fixturenames", ()) for item in request.session.items):
            request.getfixturevalue(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that wait for others to the end, followed by the tests that restart the operator, which would disturb it."""
    items.sort(key=lambda item: LAST.index(item.path.stem) + 1 if item.path.stem in LAST else 0)
