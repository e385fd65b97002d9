from http import HTTPStatus

import pytest

from chaski_console.auth.authenticators import (
    HEADERS,
    Forms,
    Identity,
    NoAuthentication,
    ProxyHeaderAuthentication,
    Refused,
    is_loopback,
)

OPEN = NoAuthentication()
PROXIED = ProxyHeaderAuthentication("X-Forwarded-User")
ADA, BOB = Identity("ada"), Identity("bob")


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "127.0.0.1", "10.0.0.5:80"])
def test_without_a_proxy_the_console_answers_to_its_addresses(host: str) -> None:
    """And to localhost."""
    assert OPEN.visitor({"Host": host}) == Identity()


@pytest.mark.parametrize("host", ["attacker.example", "localhost.attacker.example:8081", "", "[", "127.0.0.1.example"])
def test_without_a_proxy_no_other_name_is_answered(host: str) -> None:
    """A page of another site can make its own name point to this machine."""
    refused = OPEN.visitor({"Host": host})
    assert isinstance(refused, Refused)
    assert refused.status == HTTPStatus.FORBIDDEN


def test_behind_a_proxy_its_header_says_who_asks() -> None:
    """And without it nobody gets in, by whatever name."""
    assert PROXIED.visitor({"Host": "console.example", "X-Forwarded-User": " ada "}) == ADA
    for headers in ({}, {"X-Forwarded-User": " "}, {"X-Forwarded-User": "x" * 300}):
        refused = PROXIED.visitor(headers)
        assert isinstance(refused, Refused)
        assert refused.status == HTTPStatus.UNAUTHORIZED


def test_a_form_needs_the_token_of_its_visitor_and_process() -> None:
    """Neither another user's, nor another session's, nor another process's will do."""
    forms = Forms()
    token = forms.token(ADA)
    assert forms.refusal(ADA, token, {}) is None
    assert forms.refusal(BOB, token, {}) is not None
    assert forms.refusal(Identity("ada", "session"), token, {}) is not None
    assert forms.refusal(ADA, Forms().token(ADA), {}) is not None
    assert forms.refusal(ADA, "", {}) is not None
    assert forms.refusal(ADA, "ü", {}) is not None


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
def test_what_another_site_sends_is_refused(headers: dict[str, str], *, allowed: bool) -> None:
    """Even with the right token."""
    forms = Forms()
    assert (forms.refusal(ADA, forms.token(ADA), headers) is None) is allowed


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
        ("10.0.0.5", False), ("localhost.example", False), ("", False),
    ],
)  # fmt: skip
def test_which_addresses_are_of_this_machine_alone(host: str, *, ours: bool) -> None:
    """On others the console asks who comes."""
    assert is_loopback(host) is ours


def test_no_page_may_load_or_run_anything_from_elsewhere() -> None:
    """Nor be shown in a frame."""
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy
