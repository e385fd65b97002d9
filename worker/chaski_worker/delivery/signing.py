"""Signs requests as Standard Webhooks has it (github.com/standard-webhooks/standard-webhooks, version 1.0.0).

Signed is `{id}.{timestamp}.{body}`, with HMAC-SHA256. The id is the message's, the same for every attempt; the time is
the attempt's. During a change of keys there are two signatures, one for each key, so that targets can change theirs
at any time in between.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.delivery.http_deliverer import MESSAGE_ID, HttpDeliverer

CURRENT, PREVIOUS = "current", "previous"  # keys of the Secret, so names of its files
_PREFIX = b"whsec_"
_KEY_BYTES = range(24, 65)

Keys = tuple[bytes, ...]


def watch_keys(folder: Path, monotonic: Callable[[], float]) -> ReloadedFiles[Keys]:
    """The signing keys of a mounted Secret: `current`, and `previous` where there is one.

    Raises:
        ValueError: one is no signing key, or there is no current one.
        OSError: a file can't be read.
    """
    return ReloadedFiles((folder / CURRENT, folder / PREVIOUS), read_keys, monotonic)


def read_keys(contents: Contents) -> Keys:
    """Both keys, the current one first. Raises ValueError, which never repeats a key."""
    current, previous = contents
    if current is None:
        raise ValueError(f"there is no key `{CURRENT}`")
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
        keys: one signature for each.
        message_id: of the message. Dots become tildes, since a dot ends the id in what is signed.
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


class SigningDeliverer:
    """A deliverer that signs what it sends: each attempt afresh."""

    def __init__(self, inner: HttpDeliverer, keys: ReloadedFiles[Keys], now_ms: Callable[[], int]) -> None:
        self._inner = inner
        self._keys = keys
        self._now_ms = now_ms

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]] = ()) -> Outcome:
        """As `HttpDeliverer.deliver`; `headers` names the message."""
        message_id = next(value for name, value in headers if name == MESSAGE_ID)
        signature = sign(self._keys.value(), message_id, self._now_ms() // 1000, request.body or b"")
        return await self._inner.deliver(request, (*headers, *signature))

    def target_name(self, url: str) -> str:
        """As `HttpDeliverer.target_name`."""
        return self._inner.target_name(url)

    async def close(self) -> None:
        """Closes every connection."""
        await self._inner.close()
