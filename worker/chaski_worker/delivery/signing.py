"""Signs requests by Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks).

The signed text is `{id}.{timestamp}.{body}`, with HMAC-SHA256 (`v1`) or ed25519 (`v1a`). The id is the message's, the same for every
attempt; the timestamp is the attempt's. While keys are rotated there are two signatures, one for each key, so that targets can
change theirs at any time in between.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from chaski_core.ports import Clock
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule, SigningScheme
from chaski_runtime.ed25519 import SEED_BYTES, PrivateKey
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.delivery.attempt import AttemptContext, Handler, Middleware
from chaski_worker.guard.guard import Target
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason

CURRENT, PREVIOUS = "current", "previous"  # keys of the Secret, so names of its files
_HMAC_PREFIX, _ED25519_PREFIX = b"whsec_", b"whsk_"
_HMAC_BYTES = range(24, 65)
_PAIR_BYTES = 2 * SEED_BYTES  # some tools write the public key behind the seed


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of one scheme."""

    scheme: SigningScheme
    signature: Callable[[bytes], bytes] = field(compare=False, repr=False)
    secret: bytes = field(repr=False)


Keys = tuple[SigningKey, ...]


def watch_keys(folder: Path, scheme: SigningScheme, monotonic: Callable[[], float]) -> ReloadedFiles[Keys]:
    """The signing keys of a mounted Secret: `current`, and `previous` where there is one.

    Raises:
        ValueError: one is not a signing key, or the current one is missing.
        OSError: a file can't be read.
    """
    return ReloadedFiles((folder / CURRENT, folder / PREVIOUS), lambda contents: read_keys(contents, scheme), monotonic)


def read_keys(contents: Contents, scheme: SigningScheme = SigningScheme.V1) -> Keys:
    """Both keys, the current one first. Raises ValueError, whose text never contains a key.

    The previous key may be of the other scheme, so that targets can change from one to the other.
    """
    current, previous = contents
    if current is None:
        raise ValueError(f"key `{CURRENT}` is missing")
    if previous is None:
        return (_key(CURRENT, current, scheme),)
    before = SigningScheme.V1A if previous.strip().startswith(_ED25519_PREFIX) else SigningScheme.V1
    return _key(CURRENT, current, scheme), _key(PREVIOUS, previous, before)


def _key(name: str, content: bytes, scheme: SigningScheme) -> SigningKey:
    if scheme is SigningScheme.V1A:
        secret = _decoded(content.strip(), _ED25519_PREFIX) if content.strip().startswith(_ED25519_PREFIX) else b""
        if len(secret) not in (SEED_BYTES, _PAIR_BYTES):
            raise ValueError(f"key `{name}` is not whsk_ and the base64 of 32 or 64 bytes, as v1a needs")
        private = PrivateKey(secret[:SEED_BYTES])
        if secret[SEED_BYTES:] not in (b"", private.public_bytes()):
            raise ValueError(f"key `{name}` is a pair whose public key is another key's")
        return SigningKey(scheme, private.sign, secret[:SEED_BYTES])
    secret = _decoded(content.strip(), _HMAC_PREFIX)
    if len(secret) not in _HMAC_BYTES:
        raise ValueError(f"key `{name}` is not whsec_ and the base64 of 24 to 64 bytes")
    return SigningKey(scheme, lambda text: hmac.digest(secret, text, hashlib.sha256), secret)


def _decoded(text: bytes, prefix: bytes) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        return b""


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
    signatures = [f"{key.scheme.value},{base64.b64encode(key.signature(signed)).decode()}" for key in keys]
    return [
        ("webhook-id", webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signatures)),
    ]


class RuleKeys:
    """The signing keys of one rule, whose Secret may be unusable: then the rule's messages wait. Reads nothing yet."""

    def __init__(self, rule: AllowRule, folder: Path, scheme: SigningScheme, monotonic: Callable[[], float]) -> None:
        self._rule = rule.name
        self._folder = folder
        self._scheme = scheme
        self._monotonic = monotonic
        self._watched: ReloadedFiles[Keys] | None = None

    def value(self) -> Keys:
        """The current keys.

        Raises:
            ShortageError: they could never be used.
        """
        try:
            if self._watched is None:
                self._watched = watch_keys(self._folder, self._scheme, self._monotonic)
            return self._watched.value()
        except (OSError, ValueError) as error:
            detail = f'the signing keys of targets.allow "{self._rule}" can\'t be used: {self._folder}: {error}'
            raise ShortageError(Shortage(ShortageReason.CREDENTIALS, detail, self._rule)) from error


def sign_requests(keys: Mapping[AllowRule, ReloadedFiles[Keys] | RuleKeys], clock: Clock) -> Middleware:
    """Signs each request with the current keys of its rule."""

    def middleware(attempt: AttemptContext, handler: Handler) -> Awaitable[Outcome]:
        found = keys.get(attempt.target.rule) if isinstance(attempt.target, Target) else None
        if found is None:
            return handler(attempt)
        body = attempt.request.body or b""
        signature = sign(found.value(), attempt.message_id, clock.now_ms() // 1000, body)
        return handler(replace(attempt, headers=(*attempt.headers, *signature)))

    return middleware
