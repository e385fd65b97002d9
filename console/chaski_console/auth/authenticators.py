"""Who sends a request, CSRF tokens of forms, and the security headers of every response.

A form that changes something carries a token that only pages of this process hold, bound to the user and session.
Requests that a browser labels as sent by another site are denied.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from itsdangerous import Signer

from chaski_core.message.target_url import host_name, is_address

SECURITY_HEADERS = {
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
class AccessDenied:
    """Why a request is not served."""

    status: HTTPStatus
    reason: str  # a sentence
    retry_after_seconds: int = 0  # 0: retrying does not help


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a request."""

    user: str = ""  # "" without authentication
    session: str = ""  # id of the password session; "" with other kinds of authentication


class Authenticator(Protocol):
    """Identifies the user of a request."""

    def authenticate(self, headers: Mapping[str, str]) -> Identity | AccessDenied:
        """Decides by the request's headers."""
        ...


@dataclass(frozen=True, slots=True)
class NoAuthentication:
    """Accepts every user; only for a console that listens on a loopback address.

    The `Host` header must name the console: a page of another site can point its own name at 127.0.0.1 (DNS rebinding).
    """

    host: str = "127.0.0.1"  # the console's listen address

    def authenticate(self, headers: Mapping[str, str]) -> Identity | AccessDenied:
        if not self._is_own_host(headers.get("Host", "")):
            return AccessDenied(
                HTTPStatus.FORBIDDEN,
                "The host name in the address is not the console's. Use the address that the console listens on.",
            )
        return Identity()

    def _is_own_host(self, header: str) -> bool:
        name = host_name(header)
        return name in ("localhost", self.host) or is_address(
            name
        )  # an attacker can repoint a name, but not an address


@dataclass(frozen=True, slots=True)
class ProxyHeaderAuthentication:
    """Trusts the user name that an authenticating proxy sets; only that proxy may reach the port."""

    header: str  # in which the proxy names the user

    def authenticate(self, headers: Mapping[str, str]) -> Identity | AccessDenied:
        user = headers.get(self.header, "").strip()
        if not user or len(user) > MAX_USER_CHARACTERS:
            return AccessDenied(
                HTTPStatus.UNAUTHORIZED, "The proxy in front of the console did not send your user name."
            )
        return Identity(user)


def _new_signer() -> Signer:
    return Signer(secrets.token_bytes(32), salt="form", key_derivation="hmac", digest_method=hashlib.sha256)


@dataclass(frozen=True, slots=True)
class FormTokens:
    """CSRF tokens: signatures of user and session by a key of this process."""

    signer: Signer = field(default_factory=_new_signer, repr=False)

    def token(self, identity: Identity) -> str:
        """The token that forms of this user and session carry."""
        return self.signer.get_signature(_claims(identity)).decode()

    def check(self, identity: Identity, token: str, headers: Mapping[str, str]) -> AccessDenied | None:
        """None if the form comes from a page of this console, otherwise why it is denied."""
        if is_cross_site(headers):
            return CROSS_SITE
        if not self.signer.verify_signature(_claims(identity), token):
            return AccessDenied(HTTPStatus.FORBIDDEN, "This form has expired. Go back, reload the page and try again.")
        return None


def _claims(identity: Identity) -> bytes:
    return f"{identity.session}\0{identity.user}".encode("utf-8", "surrogatepass")  # a proxy may send any name


CROSS_SITE = AccessDenied(HTTPStatus.FORBIDDEN, "The request was sent by a page of another site.")


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that a page of another site sent the request."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:  # pages can't forge it and, unlike Host, proxies pass it on unchanged
        return site != "same-origin"
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("Host", "")
    except ValueError:
        return True
