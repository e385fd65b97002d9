"""How much a consumer may hold."""

import asyncio


class IntakeLimiter:
    """Counts held lanes and bytes; polling waits while either is at its cap.

    A poll can bring ten messages, so what is held exceeds a cap by at most ten messages for each poll under way.
    """

    def __init__(self, max_lanes: int, max_bytes: int) -> None:
        self.max_lanes = max_lanes
        self.max_bytes = max_bytes
        self._lanes = 0
        self._bytes = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def full(self) -> bool:
        """Whether polling has to wait."""
        return not self._free.is_set()

    @property
    def lanes(self) -> int:
        """Lanes held."""
        return self._lanes

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._bytes

    async def wait(self) -> None:
        """Waits until there is room."""
        await self._free.wait()

    def enter(self, size: int) -> None:
        """A lane of so many bytes is held from now on."""
        self._lanes += 1
        self._bytes += size
        self._judge()

    def leave(self, size: int) -> None:
        """It is not held any more."""
        self._lanes -= 1
        self._bytes -= size
        self._judge()

    def _judge(self) -> None:
        if self._lanes < self.max_lanes and self._bytes < self.max_bytes:
            self._free.set()
        else:
            self._free.clear()
