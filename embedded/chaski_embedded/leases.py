"""Leases of limits in this process: only the process that owns a data folder delivers its messages."""

from collections.abc import Sequence

from chaski_core.retry.leases import Lease, LeaseTable, LimitKey

_NONE = LeaseTable(0, ())


class EmbeddedLimitLeases:
    """Implements `chaski_core.retry.leases.LimitLeases`."""

    def __init__(self) -> None:
        self._tables: dict[LimitKey, LeaseTable] = {}

    async def read(self, key: LimitKey) -> LeaseTable:
        """The leases of a limit."""
        return self._tables.get(key, _NONE)

    async def write(self, key: LimitKey, version: int, leases: Sequence[Lease]) -> bool:
        """Replaces them; a table without leases is forgotten."""
        if self._tables.get(key, _NONE).version != version:
            return False
        self._tables.pop(key, None)
        if leases:
            self._tables[key] = LeaseTable(version + 1, leases)
        return True
