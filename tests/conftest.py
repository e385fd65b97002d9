"""What every test can use."""

from collections.abc import Callable

import pytest

_REPORTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Makes room for what tests measure."""
    config.stash[_REPORTS] = []


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
