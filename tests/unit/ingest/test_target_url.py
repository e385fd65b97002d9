import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_ingest.target_url import MAX_URL_CHARACTERS, _find_fault, url_fault

GOOD = [
    "https://api.example/hooks/1",
    "http://inbox.helpdesk.svc.cluster.local:8080/a?b=c&d=%20#e",
    "http://127.0.0.1:9/",
    "http://[::1]:8080/x",
    "https://API.Example/Hooks",
    "https://bücher.example/ä",
    "http://h",
    "http://h:65535?q",
    "https://h/" + "a" * (MAX_URL_CHARACTERS - 10),
]


@pytest.mark.parametrize("url", GOOD, ids=lambda url: url[:40])
def test_a_usual_url_has_no_fault(url: str) -> None:
    """URLs that a request can be sent to are taken, whether or not a route allows them."""
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "empty"),
        ("/hooks/1", "not absolute"),
        ("//host/", "not absolute"),
        ("ftp://host/", "not absolute"),
        ("file:///etc/passwd", "not absolute"),
        ("http:/host/", "not absolute"),
        ("https:host", "not absolute"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://user@host/", "user name"),
        ("http://user:secret@host/", "user name"),
        ("http://host:0/", "port 0"),
        ("http://host:99999/", "can't be parsed"),
        ("http://host:x/", "can't be parsed"),
        ("http://[::1/", "can't be parsed"),
        ("http://host/a b", "holds ' ' at position 13"),
        ("http://host/a\r\nHost: x", "holds '\\r'"),
        ("http://host\\@other/", "holds '\\\\'"),
        ("http://host/\u00a0", "holds"),
        ("http://host/\u2028", "holds"),
        ("http://h/" + "a" * MAX_URL_CHARACTERS, "2057 characters"),
    ],
)
def test_a_url_that_no_request_can_go_to_has_a_fault(url: str, part: str) -> None:
    """The sentence says what is wrong, and never repeats a password."""
    fault = url_fault(url)
    assert fault is not None
    assert part in fault
    assert "secret" not in fault


@given(st.from_regex(r"https?://[a-z0-9.:-]{1,12}[/?]?[!-~]{0,20}", fullmatch=True))
def test_the_fast_way_takes_nothing_that_the_exact_way_refuses(url: str) -> None:
    """The regular expression for usual URLs is only a shortcut."""
    assert (url_fault(url) is None) == (_find_fault(url) is None)
