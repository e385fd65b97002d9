"""Who may see and do what, and what a browser may make of the answers.

A form that does something carries a token that only pages of this process hold, bound to the visitor, and a request
from another site is refused by what the browser says of it.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "chaski",
}
MAX_USER_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not answered."""

    status: HTTPStatus
    reason: str
    retry_after_seconds: int = 0  # 0: asking again is no use


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    user: str = ""  # "" where nobody is asked
    session: str = ""  # of whoever has signed in here; ends with it


class Authenticator(Protocol):
    """Tells who asks."""

    def visitor(self, headers: Mapping[str, str]) -> Identity | Refused:
        """Judged by the headers of a request."""
        ...


@dataclass(frozen=True, slots=True)
class NoAuthentication:
    """Asks nobody who they are, so it is for addresses of this machine only."""

    host: str = "127.0.0.1"  # that the console listens on

    def visitor(self, headers: Mapping[str, str]) -> Identity | Refused:
        """Anybody, by the console's addresses: a page of another site can make its own name point here."""
        if not self._is_own_host(headers.get("Host", "")):
            return Refused(HTTPStatus.FORBIDDEN, "this name is not the console's; use the address it listens on")
        return Identity()

    def _is_own_host(self, given: str) -> bool:
        name = host_name(given)
        if name in ("localhost", self.host):
            return True
        try:
            ipaddress.ip_address(name)  # an address can't be made to point elsewhere, a name can
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class ProxyHeaderAuthentication:
    """Takes the word of the proxy in front, which nobody else may go around."""

    header: str  # in which the proxy names the user

    def visitor(self, headers: Mapping[str, str]) -> Identity | Refused:
        """The user that the proxy names."""
        user = headers.get(self.header, "").strip()
        if not user or len(user) > MAX_USER_CHARACTERS:
            return Refused(HTTPStatus.UNAUTHORIZED, "the proxy in front of the console has not said who you are")
        return Identity(user)


@dataclass(frozen=True, slots=True)
class Forms:
    """Tells forms of our own pages from others. Pure but for its secret."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self, visitor: Identity) -> str:
        """What a form of this visitor carries."""
        return hmac.new(self.secret, f"{visitor.session}\0{visitor.user}".encode(), hashlib.sha256).hexdigest()

    def refusal(self, visitor: Identity, token: str, headers: Mapping[str, str]) -> Refused | None:
        """Why a form does nothing. None: it comes from a page of ours."""
        if is_foreign(headers):
            return FOREIGN
        if not hmac.compare_digest(token.encode(), self.token(visitor).encode()):
            return Refused(HTTPStatus.FORBIDDEN, "this form is out of date; go back, load the page anew and try again")
        return None


FOREIGN = Refused(HTTPStatus.FORBIDDEN, "this came from another site")


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site has sent a request."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:  # no page can forge it, and unlike Host it comes through every proxy as it is
        return site != "same-origin"
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("Host", "")
    except ValueError:
        return True


def host_name(given: str) -> str:
    """The name of a `Host` without its port; "" where it is none."""
    try:
        return urlsplit(f"//{given}").hostname or ""
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Whether a name or address stands for this machine, and for it only."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
