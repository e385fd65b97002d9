"""Names and hashes of passwords from a file, such as a mounted Secret. Never logged, never shown."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from chaski_console.auth import hashing

MAX_USERS = 1_000
_MAX_NAME_CHARACTERS = 128
_REFRESH_SECONDS = 5.0  # a kubelet updates a mount about once a minute
_log = logging.getLogger(__name__)


class InvalidPasswordFileError(Exception):
    """The password file is invalid; the message quotes nothing of its contents."""


def read_passwords(text: str) -> dict[str, str]:
    """Parses lines `name:hash` into hashes by name; skips empty lines and those that begin with `#`.

    In place of a hash there may be a password, as in files of a release before hashes.

    Raises:
        InvalidPasswordFileError: no user is listed, a user is listed twice, or a line is invalid.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, entry = line.partition(":")
        if not is_name(name):
            raise InvalidPasswordFileError(f"line {number} must be name:hash, without spaces around the name")
        try:
            (hashing.check_hash if hashing.is_hash(entry) else hashing.check_length)(entry)
        except ValueError as error:
            raise InvalidPasswordFileError(f"line {number}: {error}") from None
        if name in entries:
            raise InvalidPasswordFileError(f"line {number} lists a name for the second time")
        entries[name] = entry
    if not entries:
        raise InvalidPasswordFileError("the file lists no users; each line must be name:hash")
    if len(entries) > MAX_USERS:
        raise InvalidPasswordFileError(f"the file lists more than {MAX_USERS} users")
    return entries


def user_line(name: str, password: str) -> str:
    """The line of a user in a password file.

    Raises:
        ValueError: the name or the password is invalid; the message is a sentence.
    """
    if not is_name(name):
        raise ValueError(
            "a name has 1 to 128 printable characters, no colon, no # at its beginning and no spaces around it"
        )
    return f"{name}:{hashing.hash_password(password)}"


def is_name(name: str) -> bool:
    """Whether a user can have this name."""
    is_text = bool(name) and name == name.strip() and name.isprintable() and ":" not in name
    return is_text and not name.startswith("#") and len(name) <= _MAX_NAME_CHARACTERS


class Passwords:
    """The users of the file, which is read again when it changes."""

    def __init__(self, file: Path, monotonic: Callable[[], float]) -> None:
        """Reads the file.

        Raises:
            InvalidPasswordFileError: the contents are invalid.
            OSError: the file can't be read.
        """
        self._file = file
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._warned = False
        self._use(_read(file))
        self._checked_at = monotonic()

    def entry(self, name: str) -> str | None:
        """What `hashing.verify` compares the user's password with; None for an unknown user."""
        self._refresh()
        return self._entries.get(name)

    @property
    def stand_in(self) -> str:
        """What `hashing.verify` compares with for unknown users."""
        return self._stand_in

    def fingerprint(self, name: str) -> str | None:
        """A value that changes with the user's hash; None for an unknown user."""
        entry = self.entry(name)
        if entry is None:
            return None
        return hmac.new(self._key, f"{name}\0{entry}".encode(), hashlib.sha256).hexdigest()

    def _use(self, text: str) -> None:
        entries = read_passwords(text)
        self._text, self._entries = text, entries
        self._stand_in = hashing.stand_in(entries.values())
        plain = sum(not hashing.is_hash(entry) for entry in entries.values())
        if plain and not self._warned:
            self._warned = True
            message = "%s holds the passwords of %d users as plain text; replace each line with the output of: chaski hash-password NAME"
            _log.warning(message, self._file, plain)

    def _refresh(self) -> None:
        now = self._monotonic()
        if now - self._checked_at < _REFRESH_SECONDS:
            return
        self._checked_at = now
        try:
            text = _read(self._file)
            if text == self._text:
                return
            self._use(text)
        except (OSError, InvalidPasswordFileError) as error:
            _log.error("could not reload %s, keeping the previous passwords: %s", self._file, error)
            return
        _log.info("reloaded passwords from %s: %d users", self._file, len(self._entries))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPasswordFileError("the file is not UTF-8 text") from error
