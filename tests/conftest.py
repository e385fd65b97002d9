"""What every test can use."""

import asyncio
from collections.abc import Callable

import pytest

_REPORTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Makes room for what tests measure, and says that the main thread has no event loop of its own.

    Without the latter pytest-asyncio 1.5 asks Python 3.11 for one before the first asynchronous test; the loop that is
    made by that is never closed, and its ResourceWarning fails some later test.
    """
    config.stash[_REPORTS] = []
    asyncio.set_event_loop(None)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a figure that a test measured; all of them are printed at the end of the run."""

    def note(text: str) -> None:
        request.config.stash[_REPORTS].append(f"{request.node.name}: {text}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints what tests measured."""
    if config.stash[_REPORTS]:
        terminalreporter.section("measured")
        for line in config.stash[_REPORTS]:
            terminalreporter.write_line(line)
