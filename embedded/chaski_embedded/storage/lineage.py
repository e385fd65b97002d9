"""Identities of messages in a data folder, found without reading bodies, and the originals of replays.

The identity of a message on its first queue is derived from its sequence number; on a rung it is the first part of its
deduplication id. Releases before identities used the producer's id and an epoch there: those messages have the identity
that their current queue gives them, as a worker of this release sees them.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator

from chaski_embedded.fifo.sequence import message_id

_HOP_PARTS = 4  # <identity>:<rung>:<retry>:<hop>, and before identities <id>:<epoch>:<rung>:<number>


class Lineage:
    """Identities and replays at one state of a file; used within one read transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        (self._salt,) = connection.execute("SELECT salt FROM state").fetchone()
        self._rungs = {name for (name,) in connection.execute("SELECT DISTINCT name FROM rungs")}
        rows = connection.execute("SELECT sequence, source FROM replays")
        self._sources = {message_id(self._salt, sequence): source for sequence, source in rows}

    def identity(self, sequence: int, deduplication_id: str) -> str:
        """The identity of a message on a queue."""
        parts = deduplication_id.split(":")
        if len(parts) == _HOP_PARTS and not self._is_old(parts):
            return parts[0]
        return message_id(self._salt, sequence)

    def label_before(self, deduplication_id: str) -> str | None:
        """The producer's id of a message that a release before identities sent; None for others."""
        parts = deduplication_id.split(":")
        return parts[0] if len(parts) == _HOP_PARTS and self._is_old(parts) else None

    def root(self, identity: str) -> str:
        """The identity of the accepted message: of the original for a replay, else the identity itself."""
        seen = {identity}
        while (source := self._sources.get(identity)) is not None and source not in seen:
            seen.add(source)
            identity = source
        return identity

    def with_replays(self, identities: Iterable[str]) -> list[str]:
        """The identities and all replays of them, each once."""
        found = dict.fromkeys(identities)
        if not self._sources:
            return list(found)
        replays: dict[str, list[str]] = defaultdict(list)
        for identity, source in self._sources.items():
            replays[source].append(identity)
        pending = list(found)
        while pending:
            for identity in replays.get(pending.pop(), ()):
                if identity not in found:
                    found[identity] = None
                    pending.append(identity)
        return list(found)

    def waiting(self, connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
        """Identity and sequence number of every message on a queue."""
        rows = connection.execute("SELECT sequence, dedup_id FROM messages WHERE gone = 0")
        return ((self.identity(sequence, dedup_id), sequence) for sequence, dedup_id in rows)

    def _is_old(self, parts: list[str]) -> bool:
        return parts[1].isdecimal() and parts[1] not in self._rungs
