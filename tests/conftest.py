"""What every test run needs."""

import asyncio


def pytest_configure() -> None:
    """Says that the main thread has no event loop of its own.

    Without it pytest-asyncio 1.5 asks Python 3.11 for one before the first asynchronous test; the loop that is made
    by that is never closed, and its ResourceWarning fails some later test.
    """
    asyncio.set_event_loop(None)
