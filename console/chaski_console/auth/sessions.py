"""Login sessions as signed cookie values. Stateless, except for the key and the sessions that were ended.

A value holds a fingerprint of the user's password, so a session ends when the password changes, the user is removed, or
the process, which owns the key, ends.

Its end is a part of the signed value, not `TimedSerializer`'s time of signing: that one reads the machine's clock, counts
whole seconds, and rejects every value when the clock was set back.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from itsdangerous import BadData, URLSafeSerializer

_MAX_CHARACTERS = 4_096
_MAX_ENDED = 10_000

Fingerprint = Callable[[str], str | None]  # of a user's password; None: unknown user


def _new_serializer() -> URLSafeSerializer:
    # A signature of SHA-384 fills its base64 text to the last bit: no other text decodes to the same signature.
    signer = {"key_derivation": "hmac", "digest_method": hashlib.sha384}
    return URLSafeSerializer(secrets.token_bytes(32), salt="session", signer_kwargs=signer)


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
    new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    _serializer: URLSafeSerializer = field(default_factory=_new_serializer, repr=False)
    _ended: dict[str, int] = field(default_factory=dict)  # id -> when it would have expired

    def open(self, user: str, now_ms: int) -> str:
        """Returns the value of a new session. LookupError: the user is unknown."""
        fingerprint = self.fingerprint(user)
        if fingerprint is None:
            raise LookupError(user)
        return self._serializer.dumps([self.new_id(), now_ms + self.seconds * 1000, user, fingerprint])

    def read(self, value: str, now_ms: int) -> Session | None:
        """The session of a value; None if the value is invalid or the session has ended."""
        if len(value) > _MAX_CHARACTERS or not value.isascii():
            return None
        try:
            session_id, ends_at, user, signed = self._serializer.loads(value)
        except BadData:
            return None
        fingerprint = self.fingerprint(user)
        if fingerprint is None or not hmac.compare_digest(signed, fingerprint):
            return None
        if now_ms >= ends_at or session_id in self._ended:
            return None
        return Session(session_id, user, ends_at)

    def end(self, session: Session, now_ms: int) -> None:
        """Ends a session early, for every copy of its value."""
        self._ended = {each: at for each, at in self._ended.items() if at > now_ms}
        self._ended[session.id] = session.ends_at
        if len(self._ended) > _MAX_ENDED:
            self._serializer = _new_serializer()  # bounds memory: all users have to log in again
            self._ended.clear()
