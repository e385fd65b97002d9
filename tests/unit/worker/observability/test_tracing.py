"""Spans of attempts, and of attempts that a shortage prevented."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_runtime.observability.tracing import Tracing
from chaski_worker.observability.tracing import TracedDeliverer
from chaski_worker.shortage.detection import Shortage, ShortageError, ShortageReason
from support.worker.harness import make_route


class Spans:
    """Records how spans ended."""

    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def __init__(self) -> None:
        self.ended: list[tuple[Mapping[str, Any], str | None]] = []

    def start(self, *_: object, **__: object) -> "Spans":
        """Returns itself as the span."""
        return self

    def end(self, attributes: Mapping[str, Any], error: str | None) -> None:
        """Records the end of the span."""
        self.ended.append((attributes, error))


class Short:
    """A deliverer that can't attempt anything."""

    async def deliver(self, request: HttpRequest, headers: Sequence[tuple[str, str]]) -> Outcome:
        """Raises the shortage."""
        del request, headers
        raise ShortageError(Shortage(ShortageReason.PORTS, "no local port is left", "t0"))

    def target_name(self, url: str) -> str:
        """The only rule."""
        del url
        return "t0"


async def test_the_span_of_an_attempt_that_was_not_made_names_the_shortage() -> None:
    """It is neither a failure of the target nor a cancellation."""
    spans = Spans()
    traced = TracedDeliverer(Short(), cast("Tracing", spans), make_route())
    with pytest.raises(ShortageError):
        await traced.deliver(HttpRequest("POST", "http://t0.example/", (), None), [])
    assert spans.ended == [({"error.type": "shortage"}, "no attempt was made: no local port is left")]
