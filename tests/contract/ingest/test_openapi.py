"""Every response of ingest over real sockets conforms to its OpenAPI document."""

import asyncio
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from chaski_core.route.model import Producer
from chaski_core.route.resolved import ResolvedRoute
from chaski_ingest.auth.authenticators import ProducerAuthenticator
from chaski_ingest.auth.rate_limit import RateLimits
from chaski_ingest.http.openapi import document, document_bytes
from chaski_ingest.http.server import IngestServer
from unit.ingest.fakes import Directory, FakeBackend, make_ingest, resolved

KEY = "a key of thirty-two random bytes"
ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = 60  # for each of the two operations, beside those that cover each field
NAME = re.compile("[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# Not checked: whether every valid document is accepted, since a schema can't express which headers are forbidden.
SKIPPED_CHECKS = {"positive_data_acceptance"}

schema = schemathesis.openapi.from_dict(document())
_line = st.sampled_from(
    [
        b'{"subject":"a","body":{"url":"https://api.example/"}}',
        b'{"subject":"b","body":{"url":5}}',
        b'{"subject":"a"}',
        b"{",
        b"",
        b"\xff",
    ]
)
schemathesis.openapi.media_type(
    "application/x-ndjson", st.one_of(st.lists(_line, max_size=5).map(b"\n".join), st.binary(max_size=200))
)


class Everywhere(Directory):
    """The route helpdesk/conversations under every name that a route can have."""

    def find(self, namespace: str, name: str) -> ResolvedRoute | None:
        """The one route, if the name is valid."""
        fits = NAME.fullmatch(namespace) and NAME.fullmatch(name) and len(namespace) <= 63 and len(name) <= 40
        return next(iter(self.routes.values())) if fits else None


def _serve(loop: asyncio.AbstractEventLoop, ready: "list[int]", started: threading.Event) -> None:
    made = resolved()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    route = replace(made, route=replace(made.route, producers=(Producer(None, None, (digest,)),)))
    authenticator = ProducerAuthenticator(None, RateLimits(lambda: 0.0))
    server = IngestServer(make_ingest(FakeBackend(), routes=Everywhere(route), authenticator=authenticator))
    asyncio.set_event_loop(loop)
    ready.append(loop.run_until_complete(server.start("127.0.0.1", 0)))
    started.set()
    loop.run_forever()
    loop.run_until_complete(server.drain())
    loop.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An ingest in a thread of its own."""
    loop, ready, started = asyncio.new_event_loop(), list[int](), threading.Event()
    thread = threading.Thread(target=_serve, args=(loop, ready, started))
    thread.start()
    assert started.wait(30)
    yield f"http://127.0.0.1:{ready[0]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


@pytest.mark.timeout(400)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_every_response_conforms_to_the_document(case: Any, url: str) -> None:
    """No 5xx; no undocumented status, type, header or body; nothing that violates the schema is accepted."""
    checks = [
        check for name, check in ((each.__name__, each) for each in CHECKS.get_all()) if name not in SKIPPED_CHECKS
    ]
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, checks=checks, timeout=30)


def test_the_document_is_served_and_kept_in_the_docs(url: str) -> None:
    """As `docs/openapi.json`, which `python -m chaski_ingest.http.openapi` writes."""
    answer = requests.get(f"{url}/openapi.json", timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert orjson.loads(answer.content) == document()
    assert (ROOT / "docs" / "openapi.json").read_bytes() == document_bytes()
    refused = requests.post(f"{url}/openapi.json", timeout=30)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
    assert requests.head(f"{url}/openapi.json", timeout=30).status_code == 200
