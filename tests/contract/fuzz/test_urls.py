"""Malformed URLs and rules: no crash, and the checked URL is the one that would be dialled."""

import random
import socket
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from chaski_core.message.envelope import HttpRequest
from chaski_core.message.target_url import TargetUrl, UrlFault, is_address, parse_url
from chaski_core.retry.outcome import ErrorClass
from chaski_core.route.model import AllowRule
from chaski_runtime.http.request import origin_of
from chaski_runtime.process.clock import SystemClock
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.guard.addresses import AddressTables
from chaski_worker.guard.guard import Guard, Refusal, Target
from contract.delivery.targets import JudgingDeliverer
from contract.fuzz.making import CASES, PIECES, printable, source, urls

# Seconds on an idle machine are minutes on a busy one.
pytestmark = [pytest.mark.timeout(400), pytest.mark.landing]

RULES = (
    AllowRule("exact", "https://allowed.example/"),
    AllowRule("plain", "http://allowed.example:8080/"),
    AllowRule("prefix", "https://prefix.example/ok/"),
    AllowRule("suffix", "https://*.wild.example/"),
    AllowRule("idn", "https://bücher.example/"),
    AllowRule("ipv4", "http://8.8.8.8/"),
    AllowRule("ipv6", "http://[2606:4700::1111]/"),
    AllowRule("loopback", "http://127.0.0.1/", cidrs=("0.0.0.0/0",)),
    AllowRule("mapped", "http://[::ffff:169.254.169.254]/", cidrs=("::/0", "0.0.0.0/0")),
    AllowRule("private", "http://svc.ns.svc/", cidrs=("10.0.0.0/8",)),
)


def _disagreement(text: str, url: TargetUrl) -> str | None:
    """The first reader that disagrees with the parsed URL: the client, or another library."""
    origin = origin_of(url.scheme, url.host, url.port)
    other, raw = urlsplit(str(url)), urlsplit(text)
    readings = {
        "endpoint": (origin.host, origin.port, origin.tls) == (url.host, url.port, url.scheme == "https"),
        "urlsplit": (other.hostname, other.port or {"http": 80, "https": 443}[other.scheme]) == (url.host, url.port),
        "own parser again": parse_url(str(url)) == url,
        "yarl": (URL(str(url)).raw_host, URL(str(url)).port) == (url.host, url.port),
        "Host header": origin.authority == url.authority,
        "as written": _same_host(raw.hostname or "", url.host),
        "no user": not (other.username or other.fragment or raw.username),
        "one line": str(url).isascii() and str(url).isprintable() and " " not in url.target,
        "no proxy": origin.proxy is None,
    }
    return next((name for name, agrees in readings.items() if not agrees), None)


def _same_host(written: str, parsed: str) -> bool:
    if written == parsed:
        return True
    if is_address(parsed):
        return is_address(written) and URL(f"http://[{written}]/").raw_host == parsed
    labels = zip(written.split("."), parsed.split("."), strict=True)  # non-ASCII letters, which IDNA encodes
    return all(label == text or (not text.isascii() and label.startswith("xn--")) for text, label in labels)


@pytest.mark.promise(6)
async def test_no_url_is_ambiguous(report: Callable[[str], None]) -> None:
    """An accepted URL is one host and port for our parser, for the HTTP client and for other libraries."""
    accepted = 0
    for text in urls(CASES["urls"], source("urls")):
        url = parse_url(text)
        if isinstance(url, UrlFault):
            assert url.detail.isprintable(), printable(text)
            continue
        accepted += 1
        assert 0 < url.port < 65_536
        assert _disagreement(text, url) is None, (printable(text), str(url), _disagreement(text, url))
    report(f"{CASES['urls']} texts, {accepted} of them URLs")
    assert accepted > CASES["urls"] // 10


def _rule_urls(rng: random.Random) -> Iterator[str]:
    """URLs of rules, most of which the route's schema accepts."""
    hosts = ("allowed.example", "*.wild.example", "*.example", "8.8.8.8", "[::1]", "bücher.example", "a.wild.example")
    for _ in range(CASES["rules"] // 50):
        text = rng.choice(("http://", "https://")) + rng.choice(hosts) + rng.choice(("", ":8080", ":443"))
        text += rng.choice(("/", "/ok", "/ok/", "/ok/1/"))
        if rng.random() < 0.2:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(PIECES) + text[at:]
        yield text


def _fits(rule: str, url: TargetUrl) -> bool:
    """Whether a rule covers a URL, by a plain reading of docs/route.md."""
    wanted = urlsplit(rule)
    host, wild = (wanted.hostname or "").removesuffix("."), "*." in (wanted.hostname or "")
    plain = host.removeprefix("*.")
    asked = url.host.removesuffix(".")
    path = wanted.path.rstrip("/").split("/")[1:]
    return (
        url.scheme == wanted.scheme
        and (asked.endswith("." + plain) if wild else asked == plain)
        and url.port == (wanted.port or {"http": 80, "https": 443}[wanted.scheme])
        and [unquote(part) for part in url.path.split("/")[1:]][: len(path)] == path
    )


@pytest.mark.promise(6)
def test_an_allow_rule_covers_exactly_what_it_states(report: Callable[[str], None]) -> None:
    """A malformed rule is a ValueError; all others agree with a reading by string comparison."""
    rng = source("rules")
    covered = unreadable = 0
    for text in _rule_urls(rng):
        try:
            guard = Guard([AllowRule("rule", text)])
        except ValueError:
            unreadable += 1
            continue
        for candidate in urls(50, rng, [text.replace("*", "a")]):
            verdict = guard.check(candidate)
            url = parse_url(candidate)
            assert isinstance(verdict, Refusal) or verdict.url == url
            if isinstance(verdict, Target):
                covered += 1
                assert not text.isascii() or "%" in text + candidate or _fits(text, verdict.url), (
                    text,
                    printable(candidate),
                )
            elif isinstance(url, TargetUrl) and text == text.lower() and "%" not in text and _fits(text, url):
                # The guard is stricter than the plain reading only for a path that servers interpret differently.
                segments = url.path.replace(";", "/").split("/")
                assert any(each and not each.strip(". ") for each in segments) or "%" in url.path, (
                    text,
                    printable(candidate),
                )
    report(f"{CASES['rules']} pairs, {covered} of them covered, {unreadable} rules unreadable")
    assert covered > 1_000


class _Anything(AbstractResolver):
    """Resolves every name to one public address, and records the queries."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, int]] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """8.8.4.4, which no rule names."""
        del family
        self.queries.append((host, port))
        return [ResolveResult(hostname=host, host="8.8.4.4", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.promise(6)
async def test_resolver_and_socket_get_the_checked_host(report: Callable[[str], None]) -> None:
    """Through the whole deliverer, without opening a socket."""
    resolver, sockets = _Anything(), list[tuple[str, int]]()

    def refuse(info: AddrInfoType) -> socket.socket:
        sockets.append((str(info[4][0]), int(info[4][1])))
        raise ConnectionRefusedError(111, "Connection refused")

    guard, dialled = Guard(RULES), 0
    sessions = TargetClients(AddressTables(), user_agent="chaski/test", resolver=resolver, make_socket=refuse)
    http = HttpDeliverer(sessions, timeout_seconds=30, clock=SystemClock())
    deliverer = JudgingDeliverer(guard, http)
    for text in urls(CASES["dialled"], source("dialled"), [rule.url.replace("*", "a.b") for rule in RULES]):
        resolver.queries.clear()
        sockets.clear()
        verdict = guard.check(text)
        outcome = await deliverer.deliver(HttpRequest("POST", text, (), b"x"))
        if isinstance(verdict, Refusal) or verdict.rule.name in ("loopback", "mapped"):
            assert outcome.error_class is ErrorClass.REFUSED, printable(text)
            assert (resolver.queries, sockets) == ([], []), printable(text)
            continue
        assert outcome.error_class is ErrorClass.CONNECTION, (printable(text), outcome)
        host, port = verdict.url.name, verdict.url.port
        assert sockets == [(host if is_address(host) else "8.8.4.4", port)], printable(text)
        assert {(name.rstrip("."), at) for name, at in resolver.queries} <= {(host, port)}, printable(text)
        dialled += 1
    await http.close()
    report(f"{CASES['dialled']} texts, {dialled} of them dialled")
    assert dialled > 500


@settings(max_examples=CASES["properties"] // 2, database=None, deadline=None, derandomize=True)
@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text, shrunk on a failure."""
    for url in (
        parse_url(text),
        parse_url("https://allowed.example" + text),
        parse_url(f"http://{text}.wild.example/"),
    ):
        assert isinstance(url, UrlFault) or parse_url(str(url)) == url


def test_the_number_of_cases(report: Callable[[str], None]) -> None:
    """At least 200,000 in every run."""
    report(f"{sum(CASES.values())} cases")
    assert sum(CASES.values()) >= 200_000
