"""The middlewares around a request."""

from dataclasses import replace

import pytest

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_runtime.process.clock import SystemClock
from chaski_worker.delivery.attempt import AttemptContext, Handler, Middleware, own_headers
from chaski_worker.delivery.clients import TargetClients
from chaski_worker.delivery.http_deliverer import HttpDeliverer
from chaski_worker.guard.addresses import AddressTables
from chaski_worker.guard.guard import Guard, RefusalReason
from support.worker.harness import make_route


async def test_middlewares_run_outermost_first_around_the_request() -> None:
    """Each sees what the ones before it have added, and the outcome on the way back. The guard's judgement stands."""
    events: list[str] = []
    headers: list[list[str]] = []

    def named(name: str) -> Middleware:
        async def middleware(attempt: AttemptContext, handler: Handler) -> Outcome:
            events.append(f"{name} before")
            headers.append([header for header, _ in own_headers(attempt)][2:])
            outcome = await handler(replace(attempt, headers=(*attempt.headers, (name, "x"))))
            events.append(f"{name} after {outcome.key}")
            return outcome

        return middleware

    refusals: list[RefusalReason] = []
    deliverer = HttpDeliverer(
        TargetClients(AddressTables(), user_agent="test"),
        timeout_seconds=1,
        clock=SystemClock(),
        middlewares=[named("outer"), named("inner")],
        on_refusal=refusals.append,
    )
    request = HttpRequest("POST", "http://not-allowed.example/", (), None)
    target = Guard(make_route().allow).check(request.url)
    outcome = await deliverer.deliver(AttemptContext("ns/r", "m-1", None, None, 1, None, request, target))
    await deliverer.close()
    assert events == ["outer before", "inner before", "inner after refused", "outer after refused"]
    assert headers == [[], ["outer"]]
    assert (outcome.target, refusals) == ("none", [RefusalReason.HOST])


@pytest.mark.promise(2)
@pytest.mark.parametrize("name", ["X-Original-URL", "X_Forwarded_For", "Proxy", "webhook_signature"])
async def test_a_header_that_an_earlier_release_accepted_is_refused_with_its_reason(name: str) -> None:
    """Nothing is dialled, and the outcome is of a class that ends as a dead letter."""
    refusals: list[RefusalReason] = []
    deliverer = HttpDeliverer(
        TargetClients(AddressTables(), user_agent="test"),
        timeout_seconds=1,
        clock=SystemClock(),
        on_refusal=refusals.append,
    )
    request = HttpRequest("POST", make_route().allow[0].url, ((name, "secret"),), None)
    target = Guard(make_route().allow).check(request.url)
    outcome = await deliverer.deliver(AttemptContext("ns/r", "m-1", None, None, 1, None, request, target))
    await deliverer.close()
    assert (outcome.key, refusals) == ("refused", [RefusalReason.HEADER])
    assert outcome.detail.startswith(f"body.headers.{name}: can't be set: ")
    assert "secret" not in outcome.detail
