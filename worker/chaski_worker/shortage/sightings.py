"""The oldest messages that were received of late, delivered since or not: what the operator judges a queue's age by."""

from collections.abc import Iterable
from typing import Final

from chaski_core.ports import Clock, ReceivedMessage

WINDOW_SECONDS: Final = 600.0  # far more than what lies between two scrapes


class Sightings:
    """By queue URL, over a window and up to twice as long."""

    def __init__(self, clock: Clock, window_seconds: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._window = window_seconds
        self._turned = clock.monotonic()
        self._current: dict[str, int] = {}
        self._previous: dict[str, int] = {}

    def note(self, url: str, messages: Iterable[ReceivedMessage]) -> None:
        """These were received from that queue; there is at least one."""
        self._turn()
        oldest = min(message.sent_at for message in messages)
        known = self._current.get(url)
        if known is None or oldest < known:
            self._current[url] = oldest

    def oldest(self, urls: Iterable[str]) -> int | None:
        """SentTimestamp of the oldest received from these queues, epoch milliseconds; None: none was."""
        self._turn()
        found = [kept[url] for url in urls for kept in (self._previous, self._current) if url in kept]
        return min(found, default=None)

    def _turn(self) -> None:
        passed = self._clock.monotonic() - self._turned
        if passed < self._window:
            return
        self._previous = self._current if passed < 2 * self._window else {}
        self._current = {}
        self._turned += passed // self._window * self._window
