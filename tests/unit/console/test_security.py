from http import HTTPStatus

import pytest

from chaski_console.security import HEADERS, Doorkeeper, Refused

OPEN = Doorkeeper(None)
PROXIED = Doorkeeper("X-Forwarded-User")


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "127.0.0.1", "10.0.0.5:80"])
def test_without_a_proxy_the_console_answers_to_its_addresses(host: str) -> None:
    """And to localhost."""
    assert OPEN.user({"Host": host}) == ""


@pytest.mark.parametrize("host", ["attacker.example", "localhost.attacker.example:8081", "", "[", "127.0.0.1.example"])
def test_without_a_proxy_no_other_name_is_answered(host: str) -> None:
    """A page of another site can make its own name point to this machine."""
    refused = OPEN.user({"Host": host})
    assert isinstance(refused, Refused)
    assert refused.status == HTTPStatus.FORBIDDEN


def test_behind_a_proxy_its_header_says_who_asks() -> None:
    """And without it nobody gets in, by whatever name."""
    assert PROXIED.user({"Host": "console.example", "X-Forwarded-User": " ada "}) == "ada"
    for headers in ({}, {"X-Forwarded-User": " "}, {"X-Forwarded-User": "x" * 300}):
        refused = PROXIED.user(headers)
        assert isinstance(refused, Refused)
        assert refused.status == HTTPStatus.UNAUTHORIZED


def test_a_form_needs_the_token_of_its_user_and_process() -> None:
    """Neither another user's nor another process's will do."""
    token = PROXIED.token("ada")
    assert PROXIED.may_act("ada", token, {}) is None
    assert PROXIED.may_act("bob", token, {}) is not None
    assert PROXIED.may_act("ada", Doorkeeper("X-Forwarded-User").token("ada"), {}) is not None
    assert PROXIED.may_act("ada", "", {}) is not None
    assert PROXIED.may_act("ada", "ü", {}) is not None


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
    assert (OPEN.may_act("", OPEN.token(""), headers) is None) is allowed


def test_no_page_may_load_or_run_anything_from_elsewhere() -> None:
    """Nor be shown in a frame."""
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy
