"""Traces by OpenTelemetry, if the standard environment variables name a collector; otherwise it is not even imported.

The context of a message travels as `metadata.traceparent`: the `send` span of ingest is the parent of the `process` span of every
attempt, whose HTTP request sends its own context to the target. So one trace id leads from the producer to the target, over queues and retries.
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
Kind = Literal["server", "client", "producer", "consumer", "internal"]

_log = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED_PROTOCOL = "http/protobuf"
_CLOSE_SECONDS = 5.0  # to send the remaining spans; an unreachable collector must not delay the stop


def messaging(operation: Literal["send", "process"], route: str) -> dict[str, Value]:
    """The attributes of a span of messages: their destination is the route, whatever backend its queues are on."""
    return {
        "messaging.system": "chaski",
        "messaging.destination.name": route,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "chaski.route": route,
    }


class StartedSpan:
    """A span that has not ended."""

    def __init__(self, span: "Span", traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent  # of this span, for its children

    def end(self, attributes: Mapping[str, Value], error: str | None = None) -> None:
        """Ends the span. `error`: what went wrong, as a text; None: nothing."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only where traces are on

        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class Tracing:
    """Starts spans; a thread of the SDK exports them in batches."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - only where traces are on

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("chaski")
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    def start(
        self, name: str, kind: Kind, traceparent: str | None, attributes: Mapping[str, Value], *, linked: bool = False
    ) -> StartedSpan:
        """Starts a span.

        Args:
            name: one of few different names.
            kind: server: a request to this process; client: a request of this process; producer, consumer: of a message, as the
                conventions have it; internal: none of these.
            traceparent: context of the parent; None starts a trace.
            attributes: those that are known at the start.
            linked: adds a link to the parent, which is the context that a message came with.
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
        """Sends the remaining spans, for at most five seconds."""
        sending = threading.Thread(target=self._provider.shutdown, name="chaski-traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _CLOSE_SECONDS)


@contextlib.asynccontextmanager
async def tracing_of(service: str) -> AsyncIterator[Tracing | None]:
    """As `open_tracing` with the process's environment; sends the remaining spans at the end."""
    tracing = open_tracing(service, os.environ)
    try:
        yield tracing
    finally:
        if tracing is not None:
            await tracing.close()


def open_tracing(service: str, environment: Mapping[str, str]) -> Tracing | None:
    """Tracing as the environment configures it; None where it is off.

    Args:
        service: `service.name`, unless OTEL_SERVICE_NAME is set.
        environment: the OTEL_* variables.
    """
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _SUPPORTED_PROTOCOL)
    if protocol != _SUPPORTED_PROTOCOL:
        _log.warning("tracing disabled: OTLP protocol %s is not supported (only %s)", protocol, _SUPPORTED_PROTOCOL)
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
