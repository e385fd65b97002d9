"""Waits for a condition."""

import asyncio
import time
from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 60.0


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = DEADLINE_SECONDS) -> None:
    """Polls the condition; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, "what the test waits for did not come"
        await asyncio.sleep(0.05)
