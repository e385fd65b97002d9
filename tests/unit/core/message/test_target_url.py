import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.message.target_url import (
    MAX_URL_CHARACTERS,
    TargetUrl,
    UrlFault,
    UrlPart,
    _parse_any,
    host_name,
    is_loopback,
    parse_url,
    url_fault,
)

GOOD = [
    ("https://api.example/hooks/1", TargetUrl("https", "api.example", 443, "/hooks/1")),
    (
        "http://inbox.helpdesk.svc.cluster.local:8080/a?b=c&d=%20",
        TargetUrl("http", "inbox.helpdesk.svc.cluster.local", 8080, "/a", "b=c&d=%20"),
    ),
    ("http://127.0.0.1:9/", TargetUrl("http", "127.0.0.1", 9, "/")),
    ("http://[0:0::1]:8080/x", TargetUrl("http", "::1", 8080, "/x")),
    ("https://API.Example./Hooks", TargetUrl("https", "api.example.", 443, "/Hooks")),
    ("https://bücher.example/ä?ö", TargetUrl("https", "xn--bcher-kva.example", 443, "/%C3%A4", "%C3%B6")),
    ("http://h", TargetUrl("http", "h", 80, "/")),
    ("http://h:65535?q", TargetUrl("http", "h", 65535, "/", "q")),
    ("http://h:/p?", TargetUrl("http", "h", 80, "/p", "")),
    (
        "https://h/" + "a" * (MAX_URL_CHARACTERS - 10),
        TargetUrl("https", "h", 443, "/" + "a" * (MAX_URL_CHARACTERS - 10)),
    ),
]


@pytest.mark.parametrize(("text", "url"), GOOD, ids=lambda value: str(value)[:40])
def test_a_url_is_parsed_into_its_parts(text: str, url: TargetUrl) -> None:
    """Host in lower-case ASCII, path and query as written."""
    assert parse_url(text) == url
    assert parse_url(str(url)) == url
    assert url_fault(text) is None


def test_a_url_has_a_request_target_an_authority_and_an_origin() -> None:
    """For the request line, the Host header and logs."""
    url = TargetUrl("https", "api.example.", 8443, "/p", "")
    assert (url.target, url.authority, url.origin) == ("/p?", "api.example.:8443", "https://api.example.:8443")
    assert str(url) == "https://api.example.:8443/p?"
    assert TargetUrl("http", "::1", 80, "/").authority == "[::1]"


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("text", "part", "detail"),
    [
        ("", UrlPart.MALFORMED, "empty"),
        ("/hooks/1", UrlPart.MALFORMED, "not absolute"),
        ("//host/", UrlPart.MALFORMED, "not absolute"),
        ("ftp://host/", UrlPart.SCHEME, "not absolute"),
        ("file:///etc/passwd", UrlPart.SCHEME, "not absolute"),
        ("http:/host/", UrlPart.MALFORMED, "not absolute"),
        ("https:host", UrlPart.MALFORMED, "not absolute"),
        ("http://", UrlPart.MALFORMED, "no host"),
        ("http:///path", UrlPart.MALFORMED, "no host"),
        ("http://user@host/", UrlPart.USERINFO, "user name"),
        ("http://user:secret@host/", UrlPart.USERINFO, "user name"),
        ("http://host/x#frag", UrlPart.FRAGMENT, "fragment"),
        ("http://host:0/", UrlPart.MALFORMED, "port 0"),
        ("http://host:99999/", UrlPart.MALFORMED, "port 99999"),
        ("http://host:x/", UrlPart.MALFORMED, "can't be parsed"),
        ("http://[::1/", UrlPart.MALFORMED, "can't be parsed"),
        ("http://[1.2.3.4]/", UrlPart.MALFORMED, "can't be parsed"),
        ("http://h%41/", UrlPart.MALFORMED, "can't be parsed"),
        ("http://127.1/", UrlPart.HOST, "neither a host name"),
        ("http://0x7f.1/", UrlPart.HOST, "neither a host name"),
        ("http://2130706433/", UrlPart.HOST, "neither a host name"),
        ("http://a..b/", UrlPart.HOST, "neither a host name"),
        ("http://-a.example/", UrlPart.HOST, "neither a host name"),
        ("http://①②⑦.⓪.⓪.①/", UrlPart.HOST, "neither a host name"),
        ("http://" + "ü" * 300 + "/", UrlPart.HOST, "253 characters"),
        ("http://host/a b", UrlPart.MALFORMED, "' ' at position 13"),
        ("http://host/a\r\nHost: x", UrlPart.MALFORMED, "'\\r' at"),
        ("http://host\\@other/", UrlPart.MALFORMED, "'\\\\' at"),
        ("http://host/\u00a0", UrlPart.MALFORMED, "percent-encoded"),
        ("http://host/\u2028", UrlPart.MALFORMED, "percent-encoded"),
        ("http://h/" + "a" * MAX_URL_CHARACTERS, UrlPart.MALFORMED, "2057 characters"),
    ],
)
def test_an_invalid_url_has_a_fault(text: str, part: UrlPart, detail: str) -> None:
    """Its detail names the reason, and never repeats a password or a path."""
    fault = parse_url(text)
    assert isinstance(fault, UrlFault)
    assert url_fault(text) == fault
    assert fault.part is part
    assert detail in fault.detail
    assert "secret" not in fault.detail
    assert "passwd" not in fault.detail


@given(st.from_regex(r"https?://[a-z0-9.:_-]{1,12}[/?]?[!-~]{0,20}", fullmatch=True))
def test_the_fast_path_gives_the_same_result(text: str) -> None:
    """The regular expression for most URLs is only a shortcut."""
    assert parse_url(text) == _parse_any(text)
    assert (url_fault(text) is None) == isinstance(parse_url(text), TargetUrl)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("localhost.example", False), ("box", False), ("", False),
    ],
)  # fmt: skip
def test_loopback_addresses(host: str, *, expected: bool) -> None:
    """On other addresses the console requires authentication, and `chaski dev` warns."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:8081", "127.0.0.1"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("LocalHost", "localhost"),
        ("", ""), ("[", ""), ("a:b", ""), ("user@127.0.0.1", ""), ("a b", ""), ("a/b", ""), ("a?b", ""),
    ],
)  # fmt: skip
def test_host_of_a_header(header: str, host: str) -> None:
    """Empty where it is not a host with an optional port (RFC 9110 §7.2)."""
    assert host_name(header) == host
