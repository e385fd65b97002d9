"""Signs requests by Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks).

The signed text is `{id}.{timestamp}.{body}`, with HMAC-SHA256. The id is the message's, the same for every attempt; the timestamp
is the attempt's. While keys are rotated there are two signatures, one for each key, so that targets can change theirs at any
time in between.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chaski_core.ports import Clock
from chaski_core.retry.outcome import Outcome
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.delivery.attempt import AttemptContext, Handler, Middleware

CURRENT, PREVIOUS = "current", "previous"  # keys of the Secret, so names of its files
_PREFIX = b"whsec_"
_KEY_BYTES = range(24, 65)

Keys = tuple[bytes, ...]


def watch_keys(folder: Path, monotonic: Callable[[], float]) -> ReloadedFiles[Keys]:
    """The signing keys of a mounted Secret: `current`, and `previous` where there is one.

    Raises:
        ValueError: one is not a signing key, or the current one is missing.
        OSError: a file can't be read.
    """
    return ReloadedFiles((folder / CURRENT, folder / PREVIOUS), read_keys, monotonic)


def read_keys(contents: Contents) -> Keys:
    """Both keys, the current one first. Raises ValueError, whose text never contains a key."""
    current, previous = contents
    if current is None:
        raise ValueError(f"key `{CURRENT}` is missing")
    return (_key(CURRENT, current), *([] if previous is None else [_key(PREVIOUS, previous)]))


def _key(name: str, content: bytes) -> bytes:
    try:
        key = base64.b64decode(content.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ValueError(f"key `{name}` is not whsec_ and the base64 of 24 to 64 bytes")
    return key


def sign(keys: Keys, message_id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of one attempt.

    Args:
        keys: each makes one signature.
        message_id: of the message. Dots become tildes, because a dot ends the id in the signed text.
        timestamp: epoch seconds.
        body: exactly as sent.
    """
    webhook_id = message_id.replace(".", "~")
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return [
        ("webhook-id", webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(f"v1,{signature}" for signature in signatures)),
    ]


def sign_requests(keys: ReloadedFiles[Keys], clock: Clock) -> Middleware:
    """Signs each request with the current keys."""

    async def middleware(attempt: AttemptContext, handler: Handler) -> Outcome:
        body = attempt.request.body or b""
        signature = sign(keys.value(), attempt.message_id, clock.now_ms() // 1000, body)
        return await handler(replace(attempt, headers=(*attempt.headers, *signature)))

    return middleware
