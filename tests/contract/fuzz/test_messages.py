"""Malformed headers and envelopes: no crash, no header that becomes two, and worker and ingest agree."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaski_core import json_codec
from chaski_core.message.envelope import (
    Envelope,
    HttpRequest,
    Malformed,
    Metadata,
    http_request,
    read_envelope,
    write_envelope,
)
from chaski_core.message.http_rules import MAX_HEADER_BYTES, MAX_HEADERS, METHODS, header_errors, method_errors
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.submission import Origin, Rejection, Submission, validate
from chaski_runtime.http.request import request_head
from chaski_worker.guard.guard import Guard, Refusal
from contract.fuzz.making import CASES, HOSTS, PATHS, PIECES, broken, printable, source

# Seconds on an idle machine are minutes on a busy one.
pytestmark = [pytest.mark.timeout(400), pytest.mark.landing]

NAMES = [
    *("X-A", "x-request-id", "Content-Type", "Authorization", "traceparent", "Accept", "Host", "Content-Length"),
    *("Transfer-Encoding", "Connection", "Expect", "Upgrade", "TE", "Trailer", "Proxy-Authorization", "Keep-Alive"),
    *("X-Forwarded-For", "Forwarded", "Via", "Cookie", "Accept-Encoding", "webhook-id", "Chaski-Attempt", "Metadata"),
    *(
        "X-Aws-Ec2-Metadata-Token",
        "X:A",
        "X-é",
        "",
        " X",
        "X ",
        "X\r\nHost",
        "X\x00",
        "host ",
        "HOST",
        "\uff48ost",
        "\tHost",
    ),
]
VALUES = [
    "",
    "a",
    "chunked",
    "5",
    "a\r\nX-B: c",
    "a\nb",
    "\x00",
    "\x7f",
    "é",
    "\t",
    "a" * 9_000,
    '"q"',
    " ",
    "\x0b",
    "\u2028",
]
FORBIDDEN = {
    *("host", "content-length", "transfer-encoding", "te", "trailer", "connection", "keep-alive", "upgrade", "expect"),
    *("http2-settings", "forwarded", "via", "x-real-ip", "metadata", "metadata-flavor", "accept-encoding", "cookie"),
}
PREFIXES = ("proxy-", "x-forwarded-", "x-aws-ec2-metadata-token", "webhook-", "chaski-")
SETTINGS = IngestSettings()
RANDOM = b"\x5a" * 10
ORIGIN = Origin("helpdesk/conversations", 1_700_000_000_000)


def _headers(rng: random.Random) -> list[tuple[str, str]]:
    count, odd = rng.choice((1, 1, 1, 2, 3, 70)), rng.random() < 0.7
    names, values = (NAMES, VALUES) if odd else (NAMES[:6], VALUES[:3])
    return [(_maybe_broken(rng.choice(names), rng), _maybe_broken(rng.choice(values), rng)) for _ in range(count)]


def _maybe_broken(text: str, rng: random.Random) -> str:
    return broken(text, PIECES, rng) if rng.random() < 0.3 else text


@pytest.mark.promise(6)
def test_accepted_headers_are_written_unchanged(report: Callable[[str], None]) -> None:
    """One line for each on the wire; none is forbidden; all are within the limits."""
    rng, passed = source("headers"), 0
    for _ in range(CASES["headers"]):
        headers = _headers(rng)
        if header_errors(headers):
            continue
        passed += 1
        lines = [f"{name}: {value}" for name, value in headers]
        raw = request_head("POST /", [("Host", "target.test"), *headers], 1).decode()
        wanted = ["POST / HTTP/1.1", "Host: target.test", *lines, "Content-Length: 1", "", ""]
        assert raw.split("\r\n") == wanted, printable(repr(headers))
        assert len(headers) <= MAX_HEADERS
        assert sum(len(name) + len(value) for name, value in headers) <= MAX_HEADER_BYTES
        names = {name.lower().strip() for name, _ in headers}
        assert not names & FORBIDDEN
        assert not [name for name in names if name.startswith(PREFIXES)]
    report(f"{CASES['headers']} sets of headers, {passed} accepted")
    assert passed > CASES["headers"] // 10


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(10)
    if kind < 2 and depth < 3:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind < 5 and depth < 3:
        return {rng.choice(PIECES): _value(rng, depth + 1) for _ in range(rng.randrange(3))}
    encoded = base64.b64encode(rng.randbytes(rng.randrange(8))).decode()
    return rng.choice((None, True, 0, -1, 10**30, 1e300, 0.1, 2**63, encoded, *PIECES, *VALUES))


def _messages(rng: random.Random) -> Iterator[bytes]:
    for _ in range(CASES["envelopes"]):
        body: Any = {"url": rng.choice(("http://", "https://")) + rng.choice(HOSTS) + rng.choice(PATHS)}
        message: dict[str, Any] = {"subject": "s", "body": body}
        for _ in range(rng.randrange(4)):
            where = rng.choice((message, body))
            names = ("subject", "body", "id", "metadata", "url", "method", "headers", "content", "contentEncoding", "x")
            where[rng.choice(names)] = _value(rng)
        if rng.random() < 0.3:
            body["headers"] = dict(_headers(rng))
        if rng.random() < 0.3:
            body["method"] = rng.choice(
                (*sorted(METHODS), "post", "CONNECT", "TRACE", "GET /x", "", "PO\nST", "\uff27ET")
            )
        if rng.random() < 0.2:
            body["contentEncoding"] = "base64"
        text = json.dumps(message, ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.2:
            text = broken(text, PIECES, rng)
        yield text.encode("utf-8", "surrogatepass")


def _request(envelope: Envelope) -> HttpRequest | None:
    try:
        return http_request(envelope.body)
    except ValueError:
        return None


def test_what_ingest_accepts_the_worker_can_send(report: Callable[[str], None]) -> None:
    """Both read every text without a crash; the queued message is read as the one that was validated."""
    accepted = 0
    for data in _messages(source("envelopes")):
        read = read_envelope(data)
        if isinstance(read, Envelope):
            _request(read)
            written = write_envelope(read.document, Metadata(id="1"))
            again = read_envelope(written)
            assert isinstance(again, Envelope), printable(repr(data))
            assert (again.subject, again.body) == (read.subject, read.body)
        result = validate(data, ORIGIN, RANDOM, SETTINGS)
        if not isinstance(result, Submission):
            continue
        accepted += 1
        queued = read_envelope(result.message.body)
        assert isinstance(queued, Envelope), printable(repr(data))
        assert isinstance(read, Envelope)
        assert (queued.subject, queued.body) == (result.subject, read.body)
        request = _request(queued)
        assert request is not None, printable(repr(data))
        assert not method_errors(request.method)
        assert not header_errors(request.headers)
    report(f"{CASES['envelopes']} texts, {accepted} of them accepted")
    assert accepted > CASES["envelopes"] // 20


def test_ingest_refuses_exactly_the_urls_that_the_worker_would_not_call() -> None:
    """And the other way round: both use one parser."""
    rng = source("both")
    for host in HOSTS:
        for path in PATHS:
            for port in ("", ":80", ":", ":0", ":99999", ":٨٠"):
                url = (
                    broken(f"https://{host}{port}{path}", PIECES, rng)
                    if rng.random() < 0.5
                    else f"https://{host}{port}{path}"
                )
                if any("\ud800" <= char <= "\udfff" for char in url):
                    continue  # not valid in JSON
                message = json_codec.dumps({"subject": "s", "body": {"url": url}})
                result = validate(message, ORIGIN, RANDOM, SETTINGS)
                called = Guard(()).check(url)
                assert isinstance(called, Refusal)
                assert isinstance(result, Rejection) == called.detail.startswith("the URL "), printable(url)


@settings(max_examples=CASES["properties"] // 2, database=None, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Any bytes, shrunk on a failure."""
    assert isinstance(read_envelope(data), Envelope | Malformed)
    validate(data, ORIGIN, RANDOM, SETTINGS)
