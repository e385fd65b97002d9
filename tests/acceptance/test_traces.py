"""Traces of a running `chaski dev`, sent to a collector on this machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

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


async def send(base: str, url: str, **headers: str) -> str:
    """Sends a message; returns its identity."""
    message = {"subject": "s", "body": {"url": url}}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/v1/routes/t/r/messages", json=message, headers=headers) as answer,
    ):
        assert answer.status == 202
        return str((await answer.json())["messageId"])


def attempts(spans: list[Seen]) -> list[Seen]:
    """The spans of attempts, in order."""
    found = [span for span in spans if span.name == "process t/r"]
    return sorted(found, key=lambda span: int(span.attributes["chaski.attempt"]))


@pytest.mark.promise(13)
@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
async def test_one_trace_leads_from_the_producer_to_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordering: str
) -> None:
    """Over the queue and each retry: a span for each operation, linked as the conventions have it, and targets get the request's context."""
    async with collector() as taken, target() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with dev_server(tmp_path, route("r", there.url, ordering=ordering, retry=RETRY)) as dev:
            message_id = await send(dev.url, there.url, traceparent=f"00-{TRACE}-{SPAN}-01")
            spans = await taken.until(lambda spans: len(spans) >= 8)
            assert await dev.stop() == 0
    (accepted,) = [span for span in spans if span.name == "POST /v1/routes/{namespace}/{name}/messages"]
    (sent,) = [span for span in spans if span.name == "send t/r"]
    made, requests = attempts(spans), {span.parent: span for span in spans if span.name == "POST"}
    requested = [requests[span.span] for span in made]
    assert {span.trace for span in spans} == {TRACE}
    assert len(spans) == 2 + 3 + 3  # one for each operation
    assert [accepted.parent, sent.parent] == [SPAN, accepted.span]
    assert [span.kind for span in (accepted, sent, made[0], requested[0])] == [
        "SERVER",
        "PRODUCER",
        "CONSUMER",
        "CLIENT",
    ]
    assert [(span.parent, span.links) for span in made] == [(sent.span, [sent.span])] * 3
    assert {span.attributes["messaging.message.id"] for span in (sent, *made)} == {message_id}
    assert [span.attributes["messaging.operation.type"] for span in (sent, made[0])] == ["send", "process"]
    assert [span.failed for span in made] == [span.failed for span in requested] == [True, True, False]
    assert [span.attributes["http.response.status_code"] for span in requested] == [503, 503, 200]
    assert [span.attributes.get("http.request.resend_count") for span in requested] == [None, 1, 2]
    assert [span.attributes["server.port"] for span in requested] == [URL(there.url).port] * 3
    assert there.traceparents == [f"00-{TRACE}-{span.span}-01" for span in requested]
    assert {span.service for span in spans} == {"chaski"}


async def test_a_batch_and_a_refused_message_are_spans_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of a batch have the context of its one `send` span; the server span does not report the client's fault as an error."""
    async with collector() as taken, target() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with dev_server(tmp_path, route("r", there.url)) as dev, aiohttp.ClientSession() as http:
            messages = f"{dev.url}/v1/routes/t/r/messages"
            async with http.post(messages, json={"subject": "", "body": {"url": there.url}}) as answer:
                assert answer.status == 400
            lines = [f'{{"subject": "{subject}", "body": {{"url": "{there.url}"}}}}' for subject in "abc"]
            ndjson = {"Content-Type": "application/x-ndjson"}
            async with http.post(f"{messages}:batch", data="\n".join(lines), headers=ndjson) as answer:
                assert answer.status == 200
            spans = await taken.until(lambda spans: len(attempts(spans)) >= 3 and len(spans) >= 7)
            assert await dev.stop() == 0
    refused, batch = [span for span in spans if span.name == "send t/r"]
    servers = {span.span: span for span in spans if span.kind == "SERVER"}
    assert [servers[span.parent].attributes["http.route"] for span in (refused, batch)] == [
        "/v1/routes/{namespace}/{name}/messages",
        "/v1/routes/{namespace}/{name}/messages:batch",
    ]
    assert (refused.failed, refused.attributes["error.type"]) == (True, "invalid")
    assert (servers[refused.parent].failed, servers[refused.parent].attributes["http.response.status_code"]) == (
        False,
        400,
    )
    assert (batch.failed, batch.attributes["messaging.batch.message_count"]) == (False, 3)
    assert [span.links for span in attempts(spans)[:3]] == [[batch.span]] * 3


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
