"""Traces of a running `chaski dev`, sent to a collector on this machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from support.processes.collector import Seen, collector
from support.processes.dev import dev_server, route, wait_until
from support.serving import served_app

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RETRY = {
    "rungs": [{"name": "fast", "delaySeconds": 1}],
    "ladders": [{"class": "5xx", "retriesPerRung": 2, "rungs": ["fast"]}],
}


@dataclass
class Target:
    """Fails twice, then responds 200; records the trace contexts."""

    url: str = ""
    traceparents: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Handles a request."""
        self.traceparents.append(request.headers.get("traceparent", ""))
        return web.Response(status=503 if len(self.traceparents) < 3 else 200)


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """Runs a target."""
    made = Target()
    app = web.Application()
    app.router.add_post("/{any:.*}", made.answer)
    async with served_app(app) as url:
        made.url = f"{url}/"
        yield made


async def send(base: str, url: str, **headers: str) -> None:
    """Sends a message."""
    message = {"subject": "s", "body": {"url": url}}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/v1/routes/t/r/messages", json=message, headers=headers) as answer,
    ):
        assert answer.status == 202


def attempts(spans: list[Seen]) -> list[Seen]:
    """The spans of attempts, in order."""
    found = [span for span in spans if span.name == "deliver target"]
    return sorted(found, key=lambda span: int(span.attributes["http.request.resend_count"]))


@pytest.mark.promise(13)
@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
async def test_one_trace_leads_from_the_producer_to_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordering: str
) -> None:
    """Over the queue and each retry: ingest's span is a child of the producer's, attempts are its children, and targets get their context."""
    async with collector() as taken, target() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with dev_server(tmp_path, route("r", there.url, ordering=ordering, retry=RETRY)) as dev:
            await send(dev.url, there.url, traceparent=f"00-{TRACE}-{SPAN}-01")
            spans = await taken.until(lambda spans: len(attempts(spans)) == 3)
            assert await dev.stop() == 0
    (accepted,) = [span for span in spans if span.name == "accept single"]
    made = attempts(spans)
    assert {span.trace for span in spans} == {TRACE}
    assert accepted.parent == SPAN
    assert [span.parent for span in made] == [accepted.span] * 3
    assert [span.links for span in made] == [[], [accepted.span], [accepted.span]]
    assert [span.failed for span in made] == [True, True, False]
    assert [span.attributes["http.response.status_code"] for span in made] == [503, 503, 200]
    assert there.traceparents == [f"00-{TRACE}-{span.span}-01" for span in made]
    assert {span.service for span in spans} == {"chaski"}


async def test_without_a_collector_the_producers_context_goes_to_the_target(tmp_path: Path) -> None:
    """Unchanged, with every attempt."""
    async with target() as there, dev_server(tmp_path, route("r", there.url, retry=RETRY)) as dev:
        await send(dev.url, there.url, traceparent=f"00-{TRACE}-{SPAN}-01")
        await wait_until(lambda: len(there.traceparents) == 3, 60)
    assert there.traceparents == [f"00-{TRACE}-{SPAN}-01"] * 3


async def test_an_unavailable_collector_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither deliveries nor the shutdown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    async with target() as there, dev_server(tmp_path, route("r", there.url, retry=RETRY)) as dev:
        await send(dev.url, there.url)
        await wait_until(lambda: len(there.traceparents) == 3, 60)
        assert await asyncio.wait_for(dev.stop(60), 60) == 0


async def test_requests_to_the_console_are_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the route of the page, not by the path; 404 is not an error."""
    async with collector() as taken, target() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with dev_server(tmp_path, route("r", there.url)) as dev, aiohttp.ClientSession() as http:
            for method, path in (("GET", "dead-letters"), ("GET", "messages/m1"), ("PUT", "nowhere")):
                async with http.request(
                    method, f"{dev.console_url}{path}", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
                ):
                    pass
            spans = await taken.until(lambda spans: len(spans) >= 3)
            assert await dev.stop() == 0
    assert [(span.name, span.attributes["http.response.status_code"], span.failed) for span in spans] == [
        ("GET /dead-letters", 200, False),
        ("GET /messages/{id}", 404, False),
        ("_OTHER elsewhere", 404, False),
    ]
    assert {(span.trace, span.parent) for span in spans} == {(TRACE, SPAN)}
