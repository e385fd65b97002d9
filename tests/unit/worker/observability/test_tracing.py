"""Spans of attempts, and of attempts that a shortage prevented."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_runtime.observability.tracing import Tracing
from chaski_worker.delivery.attempt import AttemptContext, own_headers
from chaski_worker.guard.guard import Guard
from chaski_worker.observability.tracing import trace_attempts, trace_requests
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason
from support.worker.harness import make_route


class Spans:
    """Records how spans ended."""

    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def __init__(self) -> None:
        self.started: list[tuple[str, str, str | None, Mapping[str, Any], bool]] = []
        self.ended: list[tuple[Mapping[str, Any], str | None]] = []

    def start(
        self, name: str, kind: str, parent: str | None, attributes: Mapping[str, Any], *, linked: bool = False
    ) -> "Spans":
        """Returns itself as the span."""
        self.started.append((name, kind, parent, attributes, linked))
        return self

    def end(self, attributes: Mapping[str, Any], error: str | None) -> None:
        """Records the end of the span."""
        self.ended.append((attributes, error))


THEIRS, OF_MESSAGE = (f"00-{letter * 32}-{letter * 16}-01" for letter in "ab")


def attempt(number: int = 1, **headers: str) -> AttemptContext:
    """An attempt of a message with a trace."""
    request = HttpRequest("POST", "http://t0.example/", tuple(headers.items()), None)
    target = Guard(make_route().allow).check(request.url)
    return AttemptContext("ns/r", "m-1", None, None, number, OF_MESSAGE, request, target)


async def test_the_span_of_an_attempt_that_was_not_made_names_the_shortage() -> None:
    """It is neither a failure of the target nor a cancellation."""
    spans = Spans()

    async def short(_: AttemptContext) -> Outcome:
        raise ShortageError(Shortage(ShortageReason.PORTS, "no local port is left", "t0"))

    with pytest.raises(ShortageError):
        await trace_attempts(cast("Tracing", spans))(attempt(), short)
    assert spans.ended == [({"error.type": "shortage"}, "no attempt was made: no local port is left")]


@pytest.mark.parametrize(
    ("headers", "parent", "sent"),
    [({}, OF_MESSAGE, [Spans.traceparent]), ({"Traceparent": THEIRS}, THEIRS, [])],
    ids=["of ingest", "of the producer"],
)
async def test_the_context_of_a_span_goes_to_the_target_unless_the_producer_sent_one(
    headers: dict[str, str], parent: str, sent: list[str]
) -> None:
    """The span's parent is the producer's context, or else the one in the message's metadata, and it links to it."""
    spans, made = Spans(), list[AttemptContext]()

    async def deliver(attempt: AttemptContext) -> Outcome:
        made.append(attempt)
        return Outcome(None, 200, target="t0")

    assert (await trace_attempts(cast("Tracing", spans))(attempt(2, **headers), deliver)).delivered
    assert spans.started == [
        (
            "process ns/r",
            "consumer",
            parent,
            {
                "messaging.system": "chaski",
                "messaging.destination.name": "ns/r",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": "m-1",
                "chaski.route": "ns/r",
                "chaski.attempt": 2,
                "chaski.target": "t0",
            },
            True,
        )
    ]
    assert [value for name, value in own_headers(made[0]) if name == "traceparent"] == sent
    assert spans.ended == [({"http.response.status_code": 200}, None)]


@pytest.mark.parametrize(("number", "resent"), [(1, {}), (3, {"http.request.resend_count": 2})])
async def test_each_request_of_an_attempt_is_a_client_span(number: int, resent: dict[str, int]) -> None:
    """Also the second one, after a credential was renewed; the URL's path and query are not recorded."""
    spans = Spans()

    async def deliver(_: AttemptContext) -> Outcome:
        return Outcome(ErrorClass.SERVER_ERROR, 503, target="t0")

    for _ in range(2):
        await trace_requests(cast("Tracing", spans))(attempt(number), deliver)
    attributes = {"http.request.method": "POST", "server.address": "t0.example", "server.port": 80} | resent
    assert spans.started == [("POST", "client", OF_MESSAGE, attributes, False)] * 2
    assert spans.ended == [({"http.response.status_code": 503, "error.type": "503"}, "503")] * 2


async def test_a_refused_attempt_sends_no_request() -> None:
    """So it has no client span."""
    spans = Spans()
    refused = replace(attempt(), target=Guard(make_route().allow).check("http://elsewhere.example/"))

    async def deliver(_: AttemptContext) -> Outcome:
        return Outcome(ErrorClass.REFUSED)

    await trace_requests(cast("Tracing", spans))(refused, deliver)
    assert spans.started == []
