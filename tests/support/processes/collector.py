"""A minimal OTLP/HTTP collector on 127.0.0.1."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.serving import served_app


@dataclass(frozen=True)
class Seen:
    """A received span."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    links: list[str]
    failed: bool
    kind: str  # CLIENT and so on
    attributes: dict[str, str | int]


@dataclass
class Collector:
    """Records every span."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Handles an export."""
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
            self.spans += [_seen(service, span) for scope in resource.scope_spans for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    async def until(self, enough: Callable[[list[Seen]], bool], within: float = 60.0) -> list[Seen]:
        """Waits until the predicate is true of the spans; returns them."""
        async with asyncio.timeout(within):
            while not enough(self.spans):
                await asyncio.sleep(0.1)
        return self.spans


def _seen(service: str, span: Span) -> Seen:
    return Seen(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [link.span_id.hex() for link in span.links],
        span.status.code == 2,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    )


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Runs a collector."""
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.receive)
    async with served_app(app) as made.url:
        yield made
