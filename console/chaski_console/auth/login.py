"""Signing in with a name and a password, and out again."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from chaski_console.auth.authenticators import FOREIGN, Identity, Refused, host_name, is_foreign, is_loopback
from chaski_console.auth.passwords import MAX_PASSWORD_CHARACTERS, Passwords
from chaski_console.auth.sessions import Session, Sessions
from chaski_console.auth.throttle import Attempts
from chaski_core.ports import Clock

DEFAULT_SESSION_SECONDS = 43_200
_PLAIN_COOKIE = "chaski-console"
_SECURE_COOKIE = "__Host-chaski-console"  # browsers take this name over HTTPS only, and from this very host
_OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]{0,2047}\Z")  # no space, no control character, no backslash, no second slash
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cookie:
    """What the browser is told to keep; no value: to forget."""

    name: str
    value: str
    seconds: int
    secure: bool

    @property
    def header(self) -> str:
        """As `Set-Cookie` says it."""
        said = f"{self.name}={self.value}; Path=/; Max-Age={self.seconds}; HttpOnly; SameSite=Strict"
        return f"{said}; Secure" if self.secure else said


@dataclass(frozen=True, slots=True)
class PasswordAuthentication:
    """Lets in whoever has signed in here."""

    passwords: Passwords
    clock: Clock
    sessions: Sessions
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempts", Attempts(self.clock.monotonic))

    def visitor(self, headers: Mapping[str, str]) -> Identity | Refused:
        """By the session's cookie."""
        session = self._session(headers)
        if session is None:
            return Refused(HTTPStatus.UNAUTHORIZED, "sign in first")
        return Identity(session.user, session.id)

    def enter(self, name: str, password: str, headers: Mapping[str, str], address: str) -> Cookie | Refused:
        """Signs somebody in who asks from an address."""
        if is_foreign(headers):
            return FOREIGN
        secure = not is_loopback(host_name(headers.get("Host", "")))
        if secure and _is_plain(headers.get("Origin", "")):
            told = "passwords are taken over HTTPS only, or on this machine (kubectl port-forward)"
            return Refused(HTTPStatus.FORBIDDEN, told)
        wait = self.attempts.wait(address)
        if wait:
            return Refused(HTTPStatus.TOO_MANY_REQUESTS, f"too many tries; try again in {wait} s", wait)
        if len(password) > MAX_PASSWORD_CHARACTERS or not self.passwords.check(name, password):
            self.attempts.failed(address)
            # The name is not told: people type passwords into the wrong field.
            _log.warning("somebody did not get in from %s", address, extra={"ecs": _event("login", "", address)})
            return Refused(HTTPStatus.UNAUTHORIZED, "the name or the password is wrong")
        value = self.sessions.open(name, self.clock.now_ms())
        _log.info("%s signed in from %s", name, address, extra={"ecs": _event("login", name, address)})
        return Cookie(_SECURE_COOKIE if secure else _PLAIN_COOKIE, value, self.sessions.seconds, secure)

    def leave(self, headers: Mapping[str, str]) -> Cookie:
        """Ends a session for good, not only in this browser."""
        session = self._session(headers)
        if session is not None:
            self.sessions.end(session, self.clock.now_ms())
            _log.info("%s signed out", session.user, extra={"ecs": _event("logout", session.user)})
        secure = not is_loopback(host_name(headers.get("Host", "")))
        return Cookie(_SECURE_COOKIE if secure else _PLAIN_COOKIE, "", 0, secure)

    def _session(self, headers: Mapping[str, str]) -> Session | None:
        names = [_SECURE_COOKIE]
        if is_loopback(host_name(headers.get("Host", ""))):
            names.append(_PLAIN_COOKIE)
        now = self.clock.now_ms()
        read = [self.sessions.read(value, now) for name, value in _cookies(headers) if name in names]
        return next((session for session in read if session is not None), None)


def password_authentication(
    file: Path, clock: Clock, session_seconds: int = DEFAULT_SESSION_SECONDS
) -> PasswordAuthentication:
    """The door for the names and passwords of a file.

    Raises:
        WrongPasswordsError: the file can't be used.
        OSError: it can't be read.
    """
    passwords = Passwords(file, clock.monotonic)
    return PasswordAuthentication(passwords, clock, Sessions(passwords.mark, session_seconds))


def own_path(asked: str) -> str:
    """Where to go on after signing in: a path of the console's own, whatever was asked for."""
    return asked if _OWN_PATH.match(asked) else "/"


def _cookies(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    pairs = [each.strip().partition("=") for each in headers.get("Cookie", "").split(";")]
    return [(name, value) for name, _, value in pairs]


def _is_plain(origin: str) -> bool:
    return origin.startswith("http://")


def _event(action: str, name: str, address: str = "") -> dict[str, object]:
    """Fields of a log line; no name: somebody did not get in."""
    fields: dict[str, object] = {"event.action": action, "event.category": ["authentication"]}
    if address:
        fields["source.ip"] = address
    if not name:
        return fields | {"event.outcome": "failure", "error.type": "wrong-password"}
    return fields | {"event.outcome": "success", "user.name": name}
