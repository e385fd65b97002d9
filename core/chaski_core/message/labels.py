"""Labels of messages: time-ordered when generated, stable when derived from an idempotency key."""

import hashlib
import re

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_RANDOM_BYTES = 10


def is_label(text: str) -> bool:
    """Whether a producer's id can be carried: `[A-Za-z0-9._-]{1,64}`."""
    return _ID.match(text) is not None


def generate(now_ms: int, random: bytes) -> str:
    """A UUID version 7 (RFC 9562 §5.7): sorts by time. `random`: 10 random bytes."""
    if len(random) != _RANDOM_BYTES:
        raise ValueError(f"{_RANDOM_BYTES} random bytes are needed, not {len(random)}")
    value = bytearray(now_ms.to_bytes(6, "big") + random)
    value[6] = (value[6] & 0x0F) | 0x70
    value[8] = (value[8] & 0x3F) | 0x80
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def from_idempotency_key(route: str, producer: str | None, subject: str, key: str) -> str:
    """The label of a message that has only an `Idempotency-Key`: the same for the same four."""
    texts = (route, producer or "", subject, key)
    parts = b"\0".join(text.encode("utf-8", "surrogatepass") for text in texts)  # a key is a header's bytes
    return "ik-" + hashlib.sha256(parts).hexdigest()[:48]
