"""The allow-list: which URLs it permits, and why it refuses others."""

import re
import sys
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaski_core.route.loading import validate
from chaski_core.route.model import AllowRule
from chaski_worker.guard.guard import Guard, Refusal, RefusalReason, Target
from contract.crd.making import base

R = RefusalReason
RULES = (
    AllowRule("exact", "https://allowed.example/"),
    AllowRule("plain", "http://allowed.example/"),
    AllowRule("prefix", "https://prefix.example/ok/"),
    AllowRule("port", "http://svc.ns.svc.cluster.local:8080/"),
    AllowRule("suffix", "https://*.wild.example/"),
    AllowRule("idn", "https://bücher.example/"),
    AllowRule("ipv4", "http://192.0.2.7/"),
    AllowRule("ipv6", "http://[2606:4700::1111]/"),
    AllowRule("second", "https://allowed.example/"),
)

ACCEPTED = [
    ("https://allowed.example/", "exact"),
    ("https://allowed.example", "exact"),
    ("https://allowed.example?x=1", "exact"),
    ("HTTPS://ALLOWED.example./", "exact"),
    ("https://allowed.example:443/", "exact"),
    ("https://allowed.example:/", "exact"),
    ("http://allowed.example:80/a%2Fb/../c", "plain"),
    ("https://prefix.example/ok", "prefix"),
    ("https://prefix.example/ok/", "prefix"),
    ("https://prefix.example/ok/deeper//x.json?../y", "prefix"),
    ("https://prefix.example/%6F%6b/x", "prefix"),
    ("http://svc.ns.svc.cluster.local:8080/x", "port"),
    ("https://a.wild.example/", "suffix"),
    ("https://a.b.wild.example./", "suffix"),
    ("https://bücher.example/", "idn"),
    ("https://xn--bcher-kva.example/", "idn"),
    ("http://192.0.2.7/x", "ipv4"),
    ("http://[2606:4700:0:0::1111]/", "ipv6"),
]


@pytest.mark.parametrize(("url", "rule"), ACCEPTED)
def test_the_first_rule_that_covers_a_url_names_the_target(url: str, rule: str) -> None:
    """Equivalent spellings match."""
    verdict = Guard(RULES).check(url)
    assert isinstance(verdict, Target), verdict
    assert verdict.rule.name == rule


REFUSED = [
    ("", R.MALFORMED),
    ("http://", R.MALFORMED),
    ("//169.254.169.254/", R.MALFORMED),
    ("allowed.example", R.MALFORMED),
    ("file:///etc/passwd", R.SCHEME),
    ("gopher://127.0.0.1:6379/_x", R.SCHEME),
    ("ftp://allowed.example/", R.SCHEME),
    ("http:///127.0.0.1/", R.MALFORMED),
    ("http://allowed.example\\@127.0.0.1/", R.MALFORMED),
    ("http://allowed.example@127.0.0.1/", R.USERINFO),
    ("http://allowed.example:80@169.254.169.254/", R.USERINFO),
    ("https://@allowed.example/", R.USERINFO),
    ("http://127.0.0.1#@allowed.example/", R.FRAGMENT),
    ("https://allowed.example/#x", R.FRAGMENT),
    ("http://allowed.example%00.evil/", R.MALFORMED),
    ("http://allowed.example\r\nHost: x/", R.MALFORMED),
    ("http://allowed.example /", R.MALFORMED),
    (" https://allowed.example/", R.MALFORMED),
    ("https://allowed.example/\x00", R.MALFORMED),
    ("https://allowed.example/\u2028", R.MALFORMED),
    ("https://allowed.example/\ud800", R.MALFORMED),
    ("http://allowed.example:99999/", R.MALFORMED),
    ("http://allowed.example:+80/", R.MALFORMED),
    ("http://allowed.example:8_0/", R.MALFORMED),
    ("http://allowed.example:٨٠/", R.MALFORMED),
    ("http://allowed.example:0/", R.MALFORMED),
    ("http://allowed.example:22/", R.PORT),
    ("http://svc.ns.svc.cluster.local/", R.PORT),
    ("http://①②⑦.⓪.⓪.①/", R.HOST),
    ("http://127。0。0。1/", R.HOST),
    ("https://\uff41llowed.example/", R.HOST),
    ("https://\uff41.b\xfccher.wild.example/", R.HOST),
    ("https://\uff45xn--bcher-kva.wild.example/", R.HOST),
    ("http://allowed.example.evil.com/", R.HOST),
    ("https://evilwild.example/", R.HOST),
    ("https://wild.example/", R.HOST),
    ("https://.wild.example/", R.HOST),
    ("https://*.wild.example/", R.HOST),
    ("http://allowed.example../", R.HOST),
    ("https://" + "a" * 64 + ".wild.example/", R.HOST),
    ("https://" + "a." * 125 + "wild.example/", R.HOST),
    ("https://prefix.example/", R.PATH),
    ("https://prefix.example/okay", R.PATH),
    ("https://prefix.example/OK/", R.PATH),
    ("https://prefix.example//ok/", R.PATH),
    ("https://prefix.example/ok/../admin", R.PATH),
    ("https://prefix.example/ok/..", R.PATH),
    ("https://prefix.example/ok/./x", R.PATH),
    ("https://prefix.example/ok/..;x=1/admin", R.PATH),
    ("https://prefix.example/ok/%2e%2E/admin", R.PATH),
    ("https://prefix.example/ok/%252e%252e/admin", R.PATH),
    ("https://prefix.example/ok%2Fx", R.PATH),
    ("https://prefix.example/ok/%5C..", R.PATH),
    ("https://prefix.example/ok/..%3b/admin", R.PATH),
    ("https://prefix.example/ok/..%00/admin", R.PATH),
    ("https://prefix.example/ok/%u002e%u002e/admin", R.PATH),
    ("https://prefix.example/ok/%%32%65%%32%65/admin", R.PATH),
    ("https://prefix.example/ok/%c0%ae%c0%ae/admin", R.PATH),
    ("https://prefix.example/ok/\uff0e\uff0e/admin", R.PATH),
    ("https://prefix.example/ok/..%20/admin", R.PATH),
    ("https://prefix.example/ok/.%0a./admin", R.PATH),
    ("https://allowed.example/" + "a" * 2_048, R.MALFORMED),
    ("http://prefix.example/ok/", R.SCHEME),
    ("http://2130706433/", R.HOST),
    ("http://0x7f000001/", R.HOST),
    ("http://0177.0.0.1/", R.HOST),
    ("http://127.1/", R.HOST),
    ("http://0/", R.HOST),
    ("http://0.0.0.0/", R.HOST),
    ("http://127.0.0.1./", R.HOST),
    ("http://192.0.2.7./", R.HOST),
    ("http://[::ffff:192.0.2.7]/", R.HOST),
    ("http://[fe80::1%25eth0]/", R.MALFORMED),
    ("http://[::1/", R.MALFORMED),
    ("http://[::1]x/", R.MALFORMED),
    ("http://[allowed.example]/", R.MALFORMED),
]


@pytest.mark.promise(6)
@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_an_uncovered_url_is_refused_with_its_reason(url: str, reason: RefusalReason) -> None:
    """Each trick is refused by the part of the URL that reveals it, with a detail without path or query."""
    verdict = Guard(RULES).check(url)
    assert isinstance(verdict, Refusal), verdict
    assert verdict.reason is reason
    assert "admin" not in verdict.detail
    assert "passwd" not in verdict.detail


def _folded() -> Iterator[tuple[str, str]]:
    """Each character that compatibility forms and letter case turn into ASCII, with that text."""
    for number in range(0x80, sys.maxunicode + 1):
        character = chr(number)
        text = unicodedata.normalize("NFKC", character).casefold()
        if text.isascii() and text:
            yield character, text


@pytest.mark.promise(6)
def test_a_host_written_with_characters_that_fold_into_ascii_is_covered_by_no_rule() -> None:
    """Full width, circled, mathematical, the Kelvin sign, `℀` (a/c): other parsers may read another host than the guard."""
    guard, tried = Guard(RULES), 0
    for character, text in _folded():
        hosts = [f"allowed.example{character}evil.com", f"allowed{character}example", f"x{character}.wild.example"]
        if text in "allowed.example":
            hosts.append("allowed.example".replace(text, character, 1))
        for host in hosts:
            verdict = guard.check(f"https://{host}/")
            if isinstance(verdict, Target):  # only where IDNA keeps the character as it is
                assert (verdict.rule.name, verdict.url.host.startswith("xn--")) == ("suffix", True), host
            tried += 1
    assert tried > 4_000


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "host", ["\u0430llowed.example", "all\u043ewed.example", "allowed.ex\u0430mple", "\u0391.example"]
)
def test_a_host_that_only_resembles_an_allowed_one_is_refused(host: str) -> None:
    """Cyrillic and Greek letters: another name on the wire. A rule is written in ASCII."""
    verdict = Guard(RULES).check(f"https://{host}/")
    assert isinstance(verdict, Refusal)
    assert (verdict.reason, "xn--" in verdict.detail) == (R.HOST, True)
    rule = {"targets": {"allow": [{"name": "a", "url": f"https://{host}/"}]}}
    (error,) = validate({**base(), "spec": {**base()["spec"], **rule}})
    assert error.field == "spec.targets.allow[0].url"


def test_the_refusal_of_a_path_names_what_is_wrong_with_it() -> None:
    """And the host; a rule without a path covers the same path."""
    verdict = Guard(RULES).check("https://prefix.example/ok/..%3b/x")
    assert isinstance(verdict, Refusal)
    assert verdict.detail == (
        "the path has an encoded semicolon, which servers read in different ways; no rule with a path of prefix.example covers it"
    )
    assert isinstance(Guard(RULES).check("https://allowed.example/ok/..%3b/x"), Target)


def test_without_rules_no_url_may_be_called() -> None:
    """An empty list allows nothing."""
    assert isinstance(Guard(()).check("https://allowed.example/"), Refusal)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x?y=1",
        "https://a.example/x/../y",
        "https://a.example/%2e/",
        "https://*.192.0.2.7/",
        "ftp://a.example/",
        "*.a.example",
        "https://u@a.example/",
        "",
    ],
)
def test_an_ambiguous_rule_is_an_error(url: str) -> None:
    """The error names the rule."""
    with pytest.raises(ValueError, match=r'targets\.allow "odd": '):
        Guard([AllowRule("odd", url)])


def test_the_url_is_sent_as_written() -> None:
    """No requoting of what a target may have signed; only what a URL can't carry is encoded."""
    verdict = Guard(RULES).check('https://allowed.example/a%7Eb/~c/%e4?q=%20+x%2B&r={"}&s=ü&t=%zz')
    assert isinstance(verdict, Target)
    assert verdict.url.target == "/a%7Eb/~c/%e4?q=%20+x%2B&r=%7B%22%7D&s=%C3%BC&t=%zz"


@pytest.mark.promise(6)
@pytest.mark.parametrize("rest", ["/p?", "/p??", "/?", "/p?a=?", "/a;b?c", "//", "/a//b/", "/p?%20+"])
def test_path_and_query_keep_every_byte(rest: str) -> None:
    """Including a trailing question mark: a target may have signed it."""
    verdict = Guard(RULES).check(f"https://allowed.example{rest}")
    assert isinstance(verdict, Target)
    assert verdict.url.target == rest


PIECES = st.sampled_from(
    [
        *(
            "http",
            "https",
            "ftp",
            ":",
            "//",
            "/",
            "\\",
            "@",
            "#",
            "?",
            "%",
            "%2e",
            "%2F",
            ".",
            "..",
            "*",
            "[",
            "]",
            "::1",
        ),
        *("allowed.example", "prefix.example", "wild.example", "a", "ok", "443", "80", "8080", "22", "127.0.0.1", "。"),
        *("①", "ü", " ", "\t", "\r\n", "\x00", "xn--", ";", "&", "=", "192.0.2.7", "2606:4700::1111", "bücher.example"),
    ]
)
NEAR_URLS = st.builds(
    lambda scheme, pieces: scheme + "".join(pieces),
    st.sampled_from(
        ["", "http://", "https://", "https://allowed.example", "https://prefix.example/ok", "https://a.wild.example"]
    ),
    st.lists(PIECES, max_size=8),
)


@pytest.mark.promise(6)
@given(st.one_of(NEAR_URLS, st.text(max_size=60)))
@example("https://allowed.example:443/")
def test_an_accepted_url_has_scheme_host_and_port_of_its_rule(text: str) -> None:
    """And the dialled host and the sent target, read by plain string rules, are the same."""
    verdict = Guard(RULES).check(text)
    if isinstance(verdict, Refusal):
        return
    url, rule = verdict.url, verdict.rule
    wanted = re.fullmatch(r"(https?)://(\*\.)?(\[.*\]|[^:/]+)(?::(\d+))?(/.*)", rule.url)
    assert wanted is not None
    scheme, wild, host, port, path = wanted.groups()
    host = host.strip("[]").replace("bücher", "xn--bcher-kva")
    dialled = url.host.removesuffix(".")
    assert url.scheme == scheme
    assert dialled.endswith("." + host) if wild else dialled == host
    assert url.port == (int(port) if port else {"http": 80, "https": 443}[scheme])
    if path != "/":
        assert (unquote(url.path) + "/").startswith(path)
        assert ".." not in unquote(url.path).split("/")
    assert str(url).isascii()
    assert re.fullmatch(r"/[!-~]*", url.target)
    assert "@" not in url.authority
    assert "#" not in str(url)
