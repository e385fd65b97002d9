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


class WrongPasswordsError(Exception):
    """The file can't be used; says why, without a word of what it holds."""


def read_passwords(text: str) -> dict[str, str]:
    """Passwords by name, of lines `name:password`; empty lines and those that begin with `#` are left out.

    Raises:
        WrongPasswordsError: nobody is named, somebody is named twice, or a line can't be used.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, password = line.partition(":")
        if not name or name != name.strip() or not name.isprintable() or len(name) > _MAX_NAME_CHARACTERS:
            raise WrongPasswordsError(f"line {number} must be name:password, the name without spaces around it")
        if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
            told = f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
            raise WrongPasswordsError(f"line {number}: a password must have {told} characters")
        if name in found:
            raise WrongPasswordsError(f"line {number} names somebody for the second time")
        found[name] = password
    if not found:
        raise WrongPasswordsError("it names nobody; each line must be name:password")
    if len(found) > MAX_USERS:
        raise WrongPasswordsError(f"it names more than {MAX_USERS}")
    return found


class Passwords:
    """Who may sign in. Held as keyed hashes, and compared in constant time, whether or not there is such a name."""

    def __init__(self, file: Path, monotonic: Callable[[], float]) -> None:
        """Reads the file.

        Raises:
            WrongPasswordsError: it can't be used.
            OSError: it can't be read.
        """
        self._file = file
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._nobody = secrets.token_bytes(32)  # that no password has
        self._text = _read(file)
        self._hashes = self._hashed(read_passwords(self._text))
        self._looked_at = monotonic()

    def check(self, name: str, password: str) -> bool:
        """Whether that is the password of that name."""
        self._refresh()
        known = self._hashes.get(name)
        return hmac.compare_digest(self._hash(name, password), known or self._nobody) and known is not None

    def mark(self, name: str) -> bytes | None:
        """Another one when the name's password is another; None where there is no such name any more."""
        self._refresh()
        return self._hashes.get(name)

    def _hashed(self, passwords: Mapping[str, str]) -> dict[str, bytes]:
        return {name: self._hash(name, password) for name, password in passwords.items()}

    def _hash(self, name: str, password: str) -> bytes:
        said = f"{name}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).digest()

    def _refresh(self) -> None:
        now = self._monotonic()
        if now - self._looked_at < _REFRESH_SECONDS:
            return
        self._looked_at = now
        try:
            text = _read(self._file)
            if text == self._text:
                return
            hashes = self._hashed(read_passwords(text))
        except (OSError, WrongPasswordsError) as error:
            _log.error("%s can't be used, going on with the passwords as they were: %s", self._file, error)
            return
        self._text, self._hashes = text, hashes
        _log.info("passwords read again from %s: %d names", self._file, len(hashes))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise WrongPasswordsError("it is no UTF-8 text") from error
