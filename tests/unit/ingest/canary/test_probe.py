"""The canary: its messages, the ones it recognizes, and its metrics."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from chaski_ingest.canary.probe import SUBJECT, Canary, CanaryConfig, parse_routes
from support.metric_pages import value
from support.serving import served_app
from unit.console.fakes import FixedClock

ROUTE = ("n", "r")
LABELS = {"namespace": "n", "route": "r"}


class Moving(FixedClock):
    """A clock that the test sets."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Ingest:
    """Accepts messages with `status`."""

    def __init__(self) -> None:
        self.status = 202
        self.requests: list[tuple[str, str | None, dict[str, object]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, request.headers.get("Authorization"), await request.json()))
        return web.Response(status=self.status, text="no")


@contextlib.asynccontextmanager
async def served(ingest: Ingest, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serves an ingest and yields its URL."""
    app = web.Application()
    app.router.add_post("/{any:.*}", ingest.answer)
    async with served_app(app, tls) as url:
        yield url


async def run_until(canary: Canary, name: str, wanted: float, **labels: str) -> None:
    """Runs a canary until a metric has a value."""
    running = asyncio.create_task(canary.run())
    async with asyncio.timeout(30):
        while value(canary.metrics, name, **labels) < wanted:
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_message_is_timed_from_its_sending_to_its_arrival(tmp_path: Path) -> None:
    """It is recognized by its id; a second arrival and another client's request count nothing."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    ingest, clock = Ingest(), Moving()
    async with served(ingest) as base:
        canary = Canary(CanaryConfig(base, "http://sink.example/", (ROUTE,), 60.0, token), clock)
        await run_until(canary, "chaski_canary_messages_total", 1, **LABELS, result="accepted")
    ((path, authorization, message),) = ingest.requests
    assert (path, authorization) == ("/v1/routes/n/r/messages", "Bearer secret")
    assert message["subject"] == SUBJECT
    assert message["body"] == {"url": "http://sink.example/", "content": "canary"}
    clock.seconds = 12.0
    assert value(canary.metrics, "chaski_canary_age_seconds", **LABELS) == 12
    for message_id in (str(message["id"]), str(message["id"]), "another"):
        request = make_mocked_request("POST", "/", headers={"Chaski-Id": message_id})
        assert (await canary.handle_arrival(request)).status == 200
    assert value(canary.metrics, "chaski_canary_latency_seconds_count", **LABELS) == 1
    assert value(canary.metrics, "chaski_canary_latency_seconds_sum", **LABELS) == 12
    assert value(canary.metrics, "chaski_canary_age_seconds", **LABELS) == 0


async def test_a_rejected_message_is_counted() -> None:
    """The canary does not wait for it."""
    ingest = Ingest()
    ingest.status = 403
    async with served(ingest) as base:
        canary = Canary(CanaryConfig(base, "http://sink.example/", (ROUTE,), 60.0), Moving())
        await run_until(canary, "chaski_canary_messages_total", 1, **LABELS, result="rejected")


async def test_ingests_certificate_is_verified_with_the_given_authority(tmp_path: Path) -> None:
    """The file is read for each message, so a renewed one is used at once; without it the system's authorities count."""
    made, named = tmp_path / "tls.crt", tmp_path / "ca.crt"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ingest"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "tls.key"), "-out", str(made)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made, tmp_path / "tls.key")
    async with served(Ingest(), tls) as base:
        canary = Canary(CanaryConfig(base, "http://sink.example/", (ROUTE,), 0.05, ca_file=named), Moving())
        await run_until(canary, "chaski_canary_messages_total", 1, **LABELS, result="unreachable")
        assert value(canary.metrics, "chaski_canary_messages_total", **LABELS, result="accepted") == 0
        made.rename(named)
        await run_until(canary, "chaski_canary_messages_total", 1, **LABELS, result="accepted")


async def test_an_unreachable_ingest_is_counted_and_tried_again() -> None:
    """At the next interval."""
    canary = Canary(CanaryConfig("http://127.0.0.1:9", "http://sink.example/", (ROUTE,), 0.05), Moving())
    await run_until(canary, "chaski_canary_messages_total", 3, **LABELS, result="unreachable")


@pytest.mark.parametrize("text", ["r", "/r", "n/", "n/r/s", ""])
def test_a_route_is_named_with_its_namespace(text: str) -> None:
    """The error shows the form."""
    with pytest.raises(ValueError, match="NAMESPACE/NAME"):
        parse_routes([text])
    assert parse_routes(["n/r", "n/r", "n/s"]) == (("n", "r"), ("n", "s"))
