from http import HTTPStatus

import pytest

from chaski_console.auth.authenticators import (
    SECURITY_HEADERS,
    AccessDenied,
    FormTokens,
    Identity,
    NoAuthentication,
    ProxyHeaderAuthentication,
)

OPEN = NoAuthentication()
PROXIED = ProxyHeaderAuthentication("X-Forwarded-User")
ADA, BOB = Identity("ada"), Identity("bob")


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "127.0.0.1", "10.0.0.5:80"])
def test_without_authentication_the_console_serves_its_addresses(host: str) -> None:
    """And localhost."""
    assert OPEN.authenticate({"Host": host}) == Identity()


@pytest.mark.parametrize(
    "host", ["attacker.example", "localhost.attacker.example:8081", "", "[", "127.0.0.1.example", "a@127.0.0.1"]
)
def test_without_authentication_other_host_names_are_denied(host: str) -> None:
    """A page of another site can point its own name at this machine (DNS rebinding)."""
    denied = OPEN.authenticate({"Host": host})
    assert isinstance(denied, AccessDenied)
    assert denied.status == HTTPStatus.FORBIDDEN


def test_behind_a_proxy_a_header_names_the_user() -> None:
    """Requests without it are denied."""
    assert PROXIED.authenticate({"Host": "console.example", "X-Forwarded-User": " ada "}) == ADA
    for headers in ({}, {"X-Forwarded-User": " "}, {"X-Forwarded-User": "x" * 300}):
        denied = PROXIED.authenticate(headers)
        assert isinstance(denied, AccessDenied)
        assert denied.status == HTTPStatus.UNAUTHORIZED


def test_a_form_needs_the_token_of_its_user_session_and_process() -> None:
    """The token of another user, session or process is denied."""
    tokens = FormTokens()
    token = tokens.token(ADA)
    assert tokens.check(ADA, token, {}) is None
    assert tokens.check(BOB, token, {}) is not None
    assert tokens.check(Identity("ada", "session"), token, {}) is not None
    assert tokens.check(ADA, FormTokens().token(ADA), {}) is not None
    assert tokens.check(ADA, "", {}) is not None
    assert tokens.check(ADA, "ü", {}) is not None
    odd = Identity("\udcff")  # of a header that is not UTF-8
    assert tokens.check(odd, tokens.token(odd), {}) is None
    assert tokens.check(odd, token, {}) is not None


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Host": "a:1", "Origin": "http://a:1", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "a:1"}, True),
        ({"Host": "10.0.0.5:8081", "Origin": "https://console.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "a:1", "Origin": "http://b"}, False),
        ({"Host": "a:1", "Origin": "null"}, False),
        ({"Host": "a:1", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Host": "a:1", "Sec-Fetch-Site": "same-site"}, False),
    ],
    ids=["own", "no-browser", "host-rewritten-by-a-proxy", "origin", "no-origin", "cross-site", "same-site"],
)
def test_requests_of_other_sites_are_denied(headers: dict[str, str], *, allowed: bool) -> None:
    """Even with a valid token."""
    tokens = FormTokens()
    assert (tokens.check(ADA, tokens.token(ADA), headers) is None) is allowed


def test_pages_may_only_load_resources_of_the_console() -> None:
    """And may not be framed."""
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy
