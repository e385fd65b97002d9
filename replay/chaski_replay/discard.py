"""Deletes dead letters permanently, without flags or output."""

from collections.abc import Callable
from contextlib import aclosing

from chaski_core.dead_letter import DeadLetterKey
from chaski_replay.backends import OpenBackend
from chaski_replay.engine import Selection, dead_letters_of

_CHUNK = 100


async def count_dead_letters(backend: OpenBackend, selection: Selection) -> int:
    """Number of dead letters selected."""
    count = 0
    async with aclosing(dead_letters_of(backend, selection)) as dead_letters:
        async for _ in dead_letters:
            count += 1
    return count


async def discard_dead_letters(
    backend: OpenBackend, selection: Selection, on_progress: Callable[[int], None] = lambda _: None
) -> int:
    """Deletes what is selected; returns and, while it runs, reports the number deleted."""
    discarded = 0
    keys: list[DeadLetterKey] = []
    async with aclosing(dead_letters_of(backend, selection)) as dead_letters:
        async for dead_letter in dead_letters:
            keys.append(dead_letter.key)
            if len(keys) >= _CHUNK:
                await backend.dead_letters.discard(keys)
                discarded += len(keys)
                keys.clear()
                on_progress(discarded)
    if keys:
        await backend.dead_letters.discard(keys)
    return discarded + len(keys)
