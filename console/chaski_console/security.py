"""Who may see and do what, and what a browser may make of the answers.

There are no cookies. A form that does something carries a token that only pages of this process hold, bound to the
user, and a request from another site is refused by what the browser says of it.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
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


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Judges requests by their headers. Pure but for its secret."""

    user_header: str | None  # set by the proxy in front; None: nobody is asked who they are
    host: str = "127.0.0.1"  # that the console listens on
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def user(self, headers: Mapping[str, str]) -> str | Refused:
        """Who asks; "" where nobody is asked."""
        if self.user_header is None:
            if not self._is_own_host(headers.get("Host", "")):
                # A page of another site can make its own name point here and would then be "the same site".
                return Refused(HTTPStatus.FORBIDDEN, "this name is not the console's; use the address it listens on")
            return ""
        user = headers.get(self.user_header, "").strip()
        if not user or len(user) > MAX_USER_CHARACTERS:
            return Refused(HTTPStatus.UNAUTHORIZED, "the proxy in front of the console has not said who you are")
        return user

    def token(self, user: str) -> str:
        """What a form of this user carries."""
        return hmac.new(self.secret, user.encode(), hashlib.sha256).hexdigest()

    def may_act(self, user: str, token: str, headers: Mapping[str, str]) -> Refused | None:
        """Whether a form comes from a page of ours. None: it does."""
        if _is_foreign(headers):
            return Refused(HTTPStatus.FORBIDDEN, "this came from another site")
        if not hmac.compare_digest(token.encode(), self.token(user).encode()):
            return Refused(HTTPStatus.FORBIDDEN, "this form is out of date; go back, load the page anew and try again")
        return None

    def _is_own_host(self, given: str) -> bool:
        try:
            name = urlsplit(f"//{given}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self.host):
            return True
        try:
            ipaddress.ip_address(name)  # an address can't be made to point elsewhere, a name can
        except ValueError:
            return False
        return True


def _is_foreign(headers: Mapping[str, str]) -> bool:
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
