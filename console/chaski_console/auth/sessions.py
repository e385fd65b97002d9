"""Who has signed in, as a signed value that the browser keeps. Pure but for its secret, and for the sessions that were ended.

The value is `<id>.<ends at, epoch ms>.<name>.<signature>`. The signature covers a mark of the name's password too, so a
session ends when the password changes or the name goes, and with the process, whose secret it is.
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

Mark = Callable[[str], bytes | None]  # of a name; None: there is no such name


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in."""

    id: str
    user: str
    ends_at: int  # epoch ms


@dataclass(slots=True)
class Sessions:
    """Opens, reads and ends sessions."""

    mark: Mark
    seconds: int  # that a session lasts
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    _ended: dict[str, int] = field(default_factory=dict)  # id -> when it would have ended by itself

    def open(self, user: str, now_ms: int) -> str:
        """The value of a new session. LookupError: there is no such name."""
        mark = self.mark(user)
        if mark is None:
            raise LookupError(user)
        name = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
        said = f"{self.new_id()}.{now_ms + self.seconds * 1000}.{name}"
        return f"{said}.{self._signature(said, mark)}"

    def read(self, value: str, now_ms: int) -> Session | None:
        """The session of a value; None where it is none of ours, or has ended."""
        said, _, signature = value.rpartition(".")
        parts = said.split(".")
        if len(value) > _MAX_CHARACTERS or len(parts) != 3:
            return None
        session_id, ends_at, name = parts
        user = _decoded(name)
        mark = None if user is None else self.mark(user)
        if user is None or mark is None:
            return None
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(said, mark).encode()):
            return None
        if now_ms >= int(ends_at) or session_id in self._ended:  # a number, since we have signed it
            return None
        return Session(session_id, user, int(ends_at))

    def end(self, session: Session, now_ms: int) -> None:
        """Ends a session before its time, wherever its value was copied to."""
        self._ended = {each: at for each, at in self._ended.items() if at > now_ms}
        self._ended[session.id] = session.ends_at
        if len(self._ended) > _MAX_ENDED:
            self.secret = secrets.token_bytes(32)  # nothing is unbounded: all sign in anew
            self._ended.clear()

    def _signature(self, said: str, mark: bytes) -> str:
        return hmac.new(self.secret, said.encode("utf-8", "replace") + b"\0" + mark, hashlib.sha256).hexdigest()


def _decoded(name: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(name.encode("ascii") + b"=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeError):
        return None
