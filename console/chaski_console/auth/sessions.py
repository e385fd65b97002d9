"""Login sessions as signed cookie values. Stateless, except for the secret and the sessions that were ended.

A value is `<id>.<ends at, epoch ms>.<name>.<signature>`. The signature also covers a fingerprint of the user's password,
so a session ends when the password changes, the user is removed, or the process, which owns the secret, ends.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

_MAX_CHARACTERS = 1_024
_MAX_ENDED = 10_000

Fingerprint = Callable[[str], bytes | None]  # of a user's password; None: unknown user


@dataclass(frozen=True, slots=True)
class Session:
    """A user who has logged in."""

    id: str
    user: str
    ends_at: int  # epoch ms


@dataclass(slots=True)
class Sessions:
    """Opens, reads and ends sessions."""

    fingerprint: Fingerprint
    seconds: int  # lifetime of a session
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    _ended: dict[str, int] = field(default_factory=dict)  # id -> when it would have expired

    def open(self, user: str, now_ms: int) -> str:
        """Returns the value of a new session. LookupError: the user is unknown."""
        fingerprint = self.fingerprint(user)
        if fingerprint is None:
            raise LookupError(user)
        name = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
        claims = f"{self.new_id()}.{now_ms + self.seconds * 1000}.{name}"
        return f"{claims}.{self._signature(claims, fingerprint)}"

    def read(self, value: str, now_ms: int) -> Session | None:
        """The session of a value; None if the value is invalid or the session has ended."""
        claims, _, signature = value.rpartition(".")
        parts = claims.split(".")
        if len(value) > _MAX_CHARACTERS or len(parts) != 3:
            return None
        session_id, ends_at, name = parts
        user = _decode(name)
        fingerprint = None if user is None else self.fingerprint(user)
        if user is None or fingerprint is None:
            return None
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(claims, fingerprint).encode()):
            return None
        if now_ms >= int(ends_at) or session_id in self._ended:  # a number, because the signature is valid
            return None
        return Session(session_id, user, int(ends_at))

    def end(self, session: Session, now_ms: int) -> None:
        """Ends a session early, for every copy of its value."""
        self._ended = {each: at for each, at in self._ended.items() if at > now_ms}
        self._ended[session.id] = session.ends_at
        if len(self._ended) > _MAX_ENDED:
            self.secret = secrets.token_bytes(32)  # bounds memory: all users have to log in again
            self._ended.clear()

    def _signature(self, claims: str, fingerprint: bytes) -> str:
        message = claims.encode("utf-8", "replace") + b"\0" + fingerprint
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()


def _decode(name: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(name.encode("ascii") + b"=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeError):
        return None
