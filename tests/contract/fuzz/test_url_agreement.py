"""Ingest, the guard and the HTTP client agree on every URL: an accepted one can be dialled, and reaches its host."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core import json_codec
from chaski_core.message.envelope import Envelope, read_envelope
from chaski_core.route.model import AllowRule
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, Rejection, validate
from chaski_runtime.http.client import Client
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.guard.addresses import AddressTables
from chaski_worker.guard.guard import Guard, Target
from contract.fuzz.making import CASES, HOSTS, PATHS, printable, source, urls

pytestmark = pytest.mark.landing

ORIGIN = Origin("team/route", 1_764_000_000_000)
SETTINGS = IngestSettings()
RANDOM = b"\x5a" * 10
KNOWN_REFUSED = [
    *(
        "http://a.example/x#frag",
        "http://h%41/",
        "http://127.1/",
        "http://a..b/",
        "http://0x7f.1/",
        "http://2130706433/",
    ),
    *("http://-a.example/", "http://a-.example/", "http://a.example:0/", "http://u@a.example/", "http://[::1%25eth0]/"),
]
KEPT = [
    "/p?",
    "/p??",
    "/?",
    "/p?a=%zz",
    "//",
    "/a/../b",
    "/%2e%2E/",
    "/a%7Eb/~c?q=%20+x",
    "/;x?y;z",
    "/[1]?a[]=1",
    "/@?@",
]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The client of a worker; it opens no connection."""
    sessions = TargetClients(AddressTables(), user_agent="chaski/test")
    yield sessions.of(AllowRule("any", "https://allowed.example/"))
    await sessions.close()


def _accepted(url: str) -> str | None:
    """The URL in the queued message, or None where ingest answers 400 and names `body.url`."""
    data = json_codec.dumps({"subject": "s", "body": {"url": url}})
    verdict = validate(data, ORIGIN, RANDOM, SETTINGS)
    if isinstance(verdict, Rejection):
        assert verdict.problem.status == 400, printable(url)
        assert [error.field for error in verdict.problem.errors] == ["body.url"], printable(url)
        assert verdict.problem.detail.isprintable(), printable(url)
        return None
    queued = read_envelope(verdict.message.body)
    assert isinstance(queued, Envelope)
    return str(queued.body["url"])


def _written(text: str) -> tuple[str, str, str]:
    """Scheme, authority and the rest of an accepted URL, by the pattern of RFC 3986 appendix B."""
    match = re.fullmatch(r"([A-Za-z]+)://([^/?#]*)([^#]*)", text, re.DOTALL)
    assert match is not None
    return match[1].lower(), match[2], match[3]


def check(text: str, client: Client, guard: Guard) -> bool:
    """Compares the three, and returns whether the URL was accepted."""
    queued = _accepted(text)
    verdict = guard.check(text if queued is None else queued)
    if queued is None:
        assert not isinstance(verdict, Target), printable(text)
        assert verdict.detail.startswith("the URL "), (printable(text), verdict.detail)
        return False
    if not isinstance(verdict, Target):
        assert verdict.detail.startswith("no allow rule covers "), (printable(text), verdict.detail)
        scheme, authority, _ = _written(text)
        rule = f"{scheme}://{authority}/".replace("://*.", "://a.")
        verdict = Guard([AllowRule("own", rule)]).check(queued)
        assert isinstance(verdict, Target), (printable(text), verdict)
    _check_client(text, verdict, client)
    return True


def _check_client(text: str, verdict: Target, client: Client) -> None:
    url = verdict.url
    scheme, authority, rest = _written(text)
    origin = client._origin(url.scheme, url.host, url.port)
    assert (origin.host, origin.port, origin.tls) == (url.host, url.port, scheme == "https"), printable(text)
    head = client._head("POST", url, origin, (), None).decode().split("\r\n")
    wanted = re.sub(r"[^!-~]|[\"<>^`{|}]", lambda match: quote(match.group()), rest)
    assert head[0] == f"POST {wanted if rest.startswith('/') else '/' + wanted} HTTP/1.1", printable(text)
    assert head[1] == f"Host: {url.authority}", printable(text)
    if authority.isascii() and not authority.startswith("["):
        host, _, digits = authority.lower().partition(":")
        assert (url.host, url.port) == (host, int(digits or {"http": 80, "https": 443}[scheme])), printable(text)
        port = f":{int(digits)}" if digits and url.port != {"http": 80, "https": 443}[scheme] else ""
        assert url.authority == host + port, printable(text)


def _cases(count: int) -> Iterator[str]:
    rng = source("agreement")
    yield from KNOWN_REFUSED
    yield from (f"https://{host}{rest}" for host in HOSTS for rest in [*KEPT, *PATHS])
    for text in urls(count, rng, [f"https://allowed.example{rest}" for rest in KEPT]):
        if not any("\ud800" <= char <= "\udfff" for char in text):  # not valid in JSON
            yield text


@pytest.mark.promise(6)
@pytest.mark.timeout(400)
async def test_ingest_guard_and_client_agree_on_every_url(client: Client, report: Callable[[str], None]) -> None:
    """Structured mutations of URLs that are known to confuse parsers, the same in every run."""
    guard = Guard([AllowRule("any", "https://allowed.example/"), AllowRule("plain", "http://allowed.example:8080/")])
    tried = accepted = 0
    for text in _cases(CASES["agreement"]):
        tried += 1
        accepted += check(text, client, guard)
    report(f"{tried} texts, {accepted} of them accepted")
    assert tried >= 200_000
    assert accepted > tried // 5
    assert tried - accepted > tried // 5


@pytest.mark.promise(6)
@pytest.mark.parametrize("text", KNOWN_REFUSED)
def test_a_url_that_no_worker_would_call_is_refused(text: str) -> None:
    """An accepted one would become a dead letter at once."""
    assert _accepted(text) is None
    assert not isinstance(Guard(()).check(text), Target)


TEXTS = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"https?://[a-zA-Z0-9.:\[\]_@%-]{1,20}[/?#]?[!-~]{0,30}", fullmatch=True),
    st.builds(
        lambda scheme, host, rest: f"{scheme}://{host}{rest}",
        st.sampled_from(["http", "https", "HTTP", "ftp"]),
        st.lists(st.sampled_from([*HOSTS, ".", "-", "a", "1", "ü", "%"]), max_size=3).map("".join),
        st.sampled_from([*KEPT, *PATHS, "#", ":1", ":65536"]),
    ),
)


@pytest.mark.promise(6)
@settings(max_examples=2_000, database=None, deadline=None, derandomize=True)
@given(st.data())
def test_ingest_and_guard_agree_on_any_text(data: Any) -> None:
    """Shrunk on a failure; the client is compared in the test above."""
    text = data.draw(TEXTS)
    verdict = Guard(()).check(text)
    assert not isinstance(verdict, Target)
    assert (_accepted(text) is None) == verdict.detail.startswith("the URL "), printable(text)
