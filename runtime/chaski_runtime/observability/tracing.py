"""Traces by OpenTelemetry, where the standard environment variables name a collector; else nothing is even imported.

A message's context travels as `metadata.traceparent`: ingest's span is the parent of every attempt's, whose own context
goes to the target. So one trace id leads from the producer to the target, over queues and retries.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Literal

from chaski_core.message.traceparent import valid_traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Value = str | int | float | bool
Kind = Literal["server", "client", "internal"]

_log = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_CLOSE_SECONDS = 5.0  # for spans that are not sent yet; a collector that is away must not hold up a stop


class StartedSpan:
    """Something under way that is traced."""

    def __init__(self, span: "Span", traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent  # of this span, for whoever comes next

    def end(self, attributes: Mapping[str, Value], error: str | None = None) -> None:
        """It ended. `error`: what went wrong, in a sentence; None: nothing."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only where traces are on

        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class Tracing:
    """Makes spans and has them sent, in batches, by a thread of its own."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - only where traces are on

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("chaski")
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    def begin(
        self, name: str, kind: Kind, traceparent: str | None, attributes: Mapping[str, Value], *, linked: bool = False
    ) -> StartedSpan:
        """Starts a span.

        Args:
            name: of few different values.
            kind: server: somebody asked us; client: we ask somebody; internal: nobody else sees it.
            traceparent: context of the parent; None begins a trace.
            attributes: what is known at the start.
            linked: whether the parent is linked to as well: it ended long ago, in another process.
        """
        from opentelemetry import trace  # noqa: PLC0415 - only where traces are on

        context = self._propagator.extract({"traceparent": traceparent} if valid_traceparent(traceparent) else {})
        parent = trace.get_current_span(context).get_span_context()
        span = self._tracer.start_span(
            name,
            context=context,
            kind=trace.SpanKind[kind.upper()],
            attributes=dict(attributes),
            links=[trace.Link(parent)] if linked and parent.is_valid else (),
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(span))
        return StartedSpan(span, carrier["traceparent"])

    async def close(self) -> None:
        """Sends what is left, for at most some seconds."""
        sending = threading.Thread(target=self._provider.shutdown, name="chaski-traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _CLOSE_SECONDS)


@contextlib.asynccontextmanager
async def tracing_of(service: str) -> AsyncIterator[Tracing | None]:
    """As `open_tracing` with the process's environment; at the end what is left is sent."""
    tracing = open_tracing(service, os.environ)
    try:
        yield tracing
    finally:
        if tracing is not None:
            await tracing.close()


def open_tracing(service: str, environment: Mapping[str, str]) -> Tracing | None:
    """Tracing as the environment asks for it; None where it does not.

    Args:
        service: `service.name`, unless OTEL_SERVICE_NAME says otherwise.
        environment: the OTEL_* variables.
    """
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _SPOKEN)
    if protocol != _SPOKEN:
        _log.warning(
            "no traces are sent: the collector is to be spoken to by %s, but only %s is known", protocol, _SPOKEN
        )
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
