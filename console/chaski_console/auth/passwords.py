"""Names and passwords from a file, such as a mounted Secret. Never logged, never shown."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 1_024
MAX_USERS = 1_000
_MAX_NAME_CHARACTERS = 128
_REFRESH_SECONDS = 5.0  # a kubelet updates a mount about once a minute
_log = logging.getLogger(__name__)


class InvalidPasswordFileError(Exception):
    """The password file is invalid; the message quotes nothing of its contents."""


def read_passwords(text: str) -> dict[str, str]:
    """Parses lines `name:password` into passwords by name; skips empty lines and those that begin with `#`.

    Raises:
        InvalidPasswordFileError: no user is listed, a user is listed twice, or a line is invalid.
    """
    passwords: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, password = line.partition(":")
        if not name or name != name.strip() or not name.isprintable() or len(name) > _MAX_NAME_CHARACTERS:
            raise InvalidPasswordFileError(f"line {number} must be name:password, without spaces around the name")
        if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
            limits = f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
            raise InvalidPasswordFileError(f"line {number}: a password must have {limits} characters")
        if name in passwords:
            raise InvalidPasswordFileError(f"line {number} lists a name for the second time")
        passwords[name] = password
    if not passwords:
        raise InvalidPasswordFileError("the file lists no users; each line must be name:password")
    if len(passwords) > MAX_USERS:
        raise InvalidPasswordFileError(f"the file lists more than {MAX_USERS} users")
    return passwords


class Passwords:
    """The users of the file. Kept as keyed hashes and compared in constant time, whether or not the name exists."""

    def __init__(self, file: Path, monotonic: Callable[[], float]) -> None:
        """Reads the file.

        Raises:
            InvalidPasswordFileError: the contents are invalid.
            OSError: the file can't be read.
        """
        self._file = file
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._unmatchable = secrets.token_bytes(32)  # compared with for unknown names; no password has this hash
        self._text = _read(file)
        self._hashes = self._hash_all(read_passwords(self._text))
        self._checked_at = monotonic()

    def check(self, name: str, password: str) -> bool:
        """Whether the user exists and has this password."""
        self._refresh()
        known = self._hashes.get(name)
        return hmac.compare_digest(self._hash(name, password), known or self._unmatchable) and known is not None

    def fingerprint(self, name: str) -> bytes | None:
        """A value that changes with the user's password; None for an unknown user."""
        self._refresh()
        return self._hashes.get(name)

    def _hash_all(self, passwords: Mapping[str, str]) -> dict[str, bytes]:
        return {name: self._hash(name, password) for name, password in passwords.items()}

    def _hash(self, name: str, password: str) -> bytes:
        message = f"{name}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def _refresh(self) -> None:
        now = self._monotonic()
        if now - self._checked_at < _REFRESH_SECONDS:
            return
        self._checked_at = now
        try:
            text = _read(self._file)
            if text == self._text:
                return
            hashes = self._hash_all(read_passwords(text))
        except (OSError, InvalidPasswordFileError) as error:
            _log.error("could not reload %s, keeping the previous passwords: %s", self._file, error)
            return
        self._text, self._hashes = text, hashes
        _log.info("reloaded passwords from %s: %d users", self._file, len(hashes))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPasswordFileError("the file is not UTF-8 text") from error
