"""The event stream of an open page: only what has changed for its reader, compressed. Pure but for its own state."""

import json
import zlib
from collections.abc import Mapping

_KEEP_ALIVE = b": nothing has changed\n\n"


class ChangeStream:
    """What is written to one reader of `/live`.

    Args:
        compressed: with gzip, as the reader's `Accept-Encoding` allows it. Each event is flushed, so that it arrives at once;
            aiohttp's own compression can't be flushed.
    """

    def __init__(self, *, compressed: bool) -> None:
        self._compressor = zlib.compressobj(wbits=31, level=1) if compressed else None  # 31: the format of gzip
        self._layout: str | None = None
        self._values: dict[str, str] = {}

    def next(self, layout: str, values: Mapping[str, str]) -> bytes:
        """The bytes for an update: an event with the changed values, all of them at first; a comment if there are none.

        Args:
            layout: of the page; a reader with another one loads the page again.
            values: of all elements of the page, by key.
        """
        changed = {key: value for key, value in values.items() if self._values.get(key) != value}
        if not changed and layout == self._layout:
            return self._encoded(_KEEP_ALIVE)
        self._layout, self._values = layout, dict(values)
        return self._encoded(b"data: %s\n\n" % json.dumps({"layout": layout, "values": changed}).encode())

    def _encoded(self, data: bytes) -> bytes:
        if self._compressor is None:
            return data
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def accepts_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` header allows gzip (RFC 9110 §12.5.3)."""
    for part in header.split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding.lower() in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
