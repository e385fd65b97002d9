"""The five-minute deduplication window. Pure; queue time in milliseconds is an argument."""

import hashlib

from chaski_embedded.fifo.sequence import time_of

WINDOW_MS = 300_000  # API_SendMessage, MessageDeduplicationId
_SLICE_MS = 60_000  # entries are removed a slice at a time, as one dict, without a search


class DedupWindow:
    """Deduplication ids of the last five minutes and their messages, deleted ones included.

    An entry takes about 130 bytes (measured) and is kept for five to six minutes.
    """

    def __init__(self, *, per_group: bool) -> None:
        self._per_group = per_group  # DeduplicationScope messageGroup, else queue
        self._slices: dict[int, dict[int, int]] = {}  # slice number -> key -> sequence number; oldest slice first

    def register(self, group: str, dedup_id: str, sequence: int, now: int) -> int:
        """The first message with an id within the window; `sequence`, which is registered, where there is none."""
        key = self._key(group, dedup_id)
        self._expire(now)
        for entries in self._slices.values():
            earlier = entries.get(key)
            if earlier is not None and now - time_of(earlier) < WINDOW_MS:
                return earlier
        self._slices.setdefault(time_of(sequence) // _SLICE_MS, {})[key] = sequence
        return sequence

    def remember(self, group: str, dedup_id: str, sequence: int) -> None:
        """Restores the entry of a message, in the order of sending."""
        self._slices.setdefault(time_of(sequence) // _SLICE_MS, {})[self._key(group, dedup_id)] = sequence

    def _expire(self, now: int) -> None:
        while self._slices:
            oldest = next(iter(self._slices))
            if (oldest + 1) * _SLICE_MS + WINDOW_MS > now:
                return
            del self._slices[oldest]

    def _key(self, group: str, dedup_id: str) -> int:
        # A digest of 128 bits instead of the texts: a collision is practically impossible.
        scoped = f"{group}\0{dedup_id}" if self._per_group else dedup_id
        return int.from_bytes(hashlib.blake2b(scoped.encode(), digest_size=16).digest(), "big")
