"""Fixtures, markers and reports of all tests."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import tools
from support.kube.api_server import KubeApi, kube_api

# Properties are checked with the same examples in every run, and never against a clock.
settings.register_profile("chaski", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("chaski")

_CLUSTER_FIXTURES = {"kube", "own_kube", "kubernetes"}  # programs that are built with Go
_JAVA_FIXTURES = {"elasticmq", "dynamodb_local"}
_JAVA_BACKENDS = {"elasticmq", "dynamodb-local"}  # parameters of tests and fixtures
_MEASURED = "measured"  # the property of a figure; xdist passes it on to the main process


def pytest_configure() -> None:
    """Sets the main thread's event loop to None.

    Otherwise pytest-asyncio 1.5 asks Python 3.11 for one before the first asynchronous test; Python creates a loop that is
    never closed, and its ResourceWarning fails a later test.
    """
    asyncio.set_event_loop(None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by the fixtures and emulators that they use, before `-m` selects; pyproject.toml describes the markers."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if fixtures & _CLUSTER_FIXTURES:
            item.add_marker("cluster")
        if fixtures & _JAVA_FIXTURES or any(each in _JAVA_BACKENDS for each in parameters if isinstance(each, str)):
            item.add_marker("landing")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets `support.tools` check that the test is marked for the programs that it uses."""
    tools.markers = {each.name for each in item.iter_markers()}


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Records a figure that a test measured; all are printed at the end of the run."""

    def note(text: str) -> None:
        request.node.user_properties.append((_MEASURED, f"{request.node.name}: {text}"))

    return note


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """A real Kubernetes API server with the ChaskiRoute's definition, shared by all test processes of this run."""
    own = tmp_path_factory.getbasetemp()
    with kube_api((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "kube") as api:
        api.install_crds()
        yield api


@pytest.fixture
def own_kube(tmp_path: Path) -> Iterator[KubeApi]:
    """A real Kubernetes API server for a single test, which may stop it and count its requests."""
    with kube_api(tmp_path / "kube") as api:
        api.install_crds()
        yield api


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures of `report`."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    figures = [text for report in reports for name, text in report.user_properties if name == _MEASURED]
    if figures:
        terminalreporter.section("measured")
        for text in figures:
            terminalreporter.write_line(text)
