"""Logging in with a name and a password, and logging out."""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from chaski_console.auth.authenticators import (
    CROSS_SITE,
    AccessDenied,
    Identity,
    is_cross_site,
)
from chaski_console.auth.hashing import MAX_PASSWORD_CHARACTERS, verify
from chaski_console.auth.passwords import Passwords
from chaski_console.auth.sessions import Session, Sessions
from chaski_console.auth.throttle import LoginThrottle
from chaski_core.message.target_url import host_name, is_loopback
from chaski_core.ports import Clock

DEFAULT_SESSION_SECONDS = 43_200
_PLAIN_COOKIE = "chaski-console"
_SECURE_COOKIE = "__Host-chaski-console"  # browsers accept this prefix over HTTPS only, and from this very host
_LOCAL_PATH = re.compile(r"/(?!/)[!-\[\]-~]{0,2047}\Z")  # no space, control character, backslash or second slash
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cookie:
    """A session cookie to set; an empty value deletes it."""

    name: str
    value: str
    seconds: int
    secure: bool

    @property
    def header(self) -> str:
        """The value of the `Set-Cookie` header."""
        attributes = f"{self.name}={self.value}; Path=/; Max-Age={self.seconds}; HttpOnly; SameSite=Strict"
        return f"{attributes}; Secure" if self.secure else attributes


@dataclass(frozen=True, slots=True)
class PasswordAuthentication:
    """Identifies users by the session cookie that they get with their password.

    Passwords are verified one at a time, on a thread: each takes up to 64 MiB and 0.2 s of CPU time, so that many logins at once wait
    for each other instead of exhausting memory and CPU, and all other requests are served meanwhile.
    """

    passwords: Passwords
    clock: Clock
    sessions: Sessions
    throttle: LoginThrottle
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def authenticate(self, headers: Mapping[str, str]) -> Identity | AccessDenied:
        session = self._session(headers)
        if session is None:
            return AccessDenied(HTTPStatus.UNAUTHORIZED, "Log in first.")
        return Identity(session.user, session.id)

    async def log_in(self, name: str, password: str, headers: Mapping[str, str], address: str) -> Cookie | AccessDenied:
        """Opens a session. `address`: of the client, for throttling and the log."""
        if is_cross_site(headers):
            return CROSS_SITE
        secure = not is_loopback(host_name(headers.get("Host", "")))
        if secure and _is_plain_http(headers.get("Origin", "")):
            reason = "Passwords are accepted over HTTPS only, or on this machine (kubectl port-forward)."
            return AccessDenied(HTTPStatus.FORBIDDEN, reason)
        # Shielded: a client that disconnects would otherwise escape the count of failures and the limit of one at a time.
        value = await asyncio.shield(asyncio.create_task(self._open_session(name, password, address)))
        if isinstance(value, AccessDenied):
            return value
        _log.info("%s logged in from %s", name, address, extra={"ecs": _event("login", name, address)})
        return Cookie(_SECURE_COOKIE if secure else _PLAIN_COOKIE, value, self.sessions.seconds, secure)

    async def _open_session(self, name: str, password: str, address: str) -> str | AccessDenied:
        """The value of a new session, if this is the user's password."""
        async with self._one_at_a_time:
            wait = self.throttle.wait_seconds(address)
            if wait:
                reason = f"Too many failed logins; try again in {wait} s."
                return AccessDenied(HTTPStatus.TOO_MANY_REQUESTS, reason, wait)
            entry = self.passwords.entry(name) if len(password) <= MAX_PASSWORD_CHARACTERS else None
            shortened = password[:MAX_PASSWORD_CHARACTERS]
            matches = await asyncio.to_thread(verify, entry, shortened, self.passwords.stand_in)
            if matches and self.passwords.entry(name) == entry:  # the file may have changed meanwhile
                return self.sessions.open(name, self.clock.now_ms())
            self.throttle.record_failure(address)
        # The name is not logged: people type passwords into the wrong field.
        _log.warning("login failed from %s", address, extra={"ecs": _event("login", "", address)})
        return AccessDenied(HTTPStatus.UNAUTHORIZED, "The name or the password is wrong.")

    def log_out(self, headers: Mapping[str, str]) -> Cookie:
        """Ends the session on the server too, so that copies of the cookie are invalid."""
        session = self._session(headers)
        if session is not None:
            self.sessions.end(session, self.clock.now_ms())
            _log.info("%s logged out", session.user, extra={"ecs": _event("logout", session.user)})
        secure = not is_loopback(host_name(headers.get("Host", "")))
        return Cookie(_SECURE_COOKIE if secure else _PLAIN_COOKIE, "", 0, secure)

    def _session(self, headers: Mapping[str, str]) -> Session | None:
        names = [_SECURE_COOKIE]
        if is_loopback(host_name(headers.get("Host", ""))):
            names.append(_PLAIN_COOKIE)
        now = self.clock.now_ms()
        sessions = [self.sessions.read(value, now) for name, value in _cookies(headers) if name in names]
        return next((session for session in sessions if session is not None), None)


def password_authentication(
    file: Path, clock: Clock, session_seconds: int = DEFAULT_SESSION_SECONDS
) -> PasswordAuthentication:
    """Authentication with the names and hashes of a password file.

    Raises:
        InvalidPasswordFileError: the contents are invalid.
        OSError: the file can't be read.
    """
    passwords = Passwords(file, clock.monotonic)
    sessions = Sessions(passwords.fingerprint, session_seconds)
    return PasswordAuthentication(passwords, clock, sessions, LoginThrottle(clock.monotonic))


def local_path(requested: str) -> str:
    """Where to redirect after login: the requested path if it is one of this console, otherwise `/`."""
    return requested if _LOCAL_PATH.match(requested) else "/"


def _cookies(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    pairs = [each.strip().partition("=") for each in headers.get("Cookie", "").split(";")]
    return [(name, value) for name, _, value in pairs]


def _is_plain_http(origin: str) -> bool:
    return origin.startswith("http://")


def _event(action: str, name: str, address: str = "") -> dict[str, object]:
    """Log fields of a login or logout; an empty name means that the login failed."""
    fields: dict[str, object] = {"event.action": action, "event.category": ["authentication"]}
    if address:
        fields["source.ip"] = address
    if not name:
        return fields | {"event.outcome": "failure", "error.type": "wrong-password"}
    return fields | {"event.outcome": "success", "user.name": name}
