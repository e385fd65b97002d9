"""What every test can use."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.kube.api_server import KubeApi, kube_api

# Properties are checked with the same examples in every run, and never against a clock.
settings.register_profile("chaski", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("chaski")

_MEASURED = "measured"  # name of the property that carries a figure, over the borders of processes too


def pytest_configure() -> None:
    """Says that the main thread has no event loop of its own.

    Otherwise pytest-asyncio 1.5 asks Python 3.11 for one before the first asynchronous test; the loop that is
    made by that is never closed, and its ResourceWarning fails some later test.
    """
    asyncio.set_event_loop(None)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a figure that a test measured; all of them are printed at the end of the run."""

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
    """A real Kubernetes API server that one test has for itself, to stop it and to count its requests."""
    with kube_api(tmp_path / "kube") as api:
        api.install_crds()
        yield api


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests measured."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    figures = [text for report in reports for name, text in report.user_properties if name == _MEASURED]
    if figures:
        terminalreporter.section("measured")
        for text in figures:
            terminalreporter.write_line(text)
