"""How long the API server has been unreachable, and what counts."""

import logging

import pytest
from aiohttp import web

from chaski_runtime.kube.client import KubeApi, KubeApiError
from chaski_runtime.kube.config import KubeAccess
from chaski_runtime.kube.reachability import Reachability
from support.clocks import StillClock
from support.kube.fake_server import TRANSPORTS, TransportType, serving


def test_time_runs_from_the_first_failure_to_the_next_success(caplog: pytest.LogCaptureFixture) -> None:
    """Logged once, and only if it lasts."""
    caplog.set_level(logging.INFO)
    clock = StillClock()
    reachability = Reachability(clock.monotonic)
    assert reachability.unreachable_seconds() == 0
    for _ in range(5):
        reachability.failed(OSError("refused"))
        clock.pass_time(4)
    assert reachability.unreachable_seconds() == 20
    reachability.succeeded()
    clock.pass_time(4)
    assert reachability.unreachable_seconds() == 0
    reachability.failed(OSError("refused"))
    reachability.succeeded()
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]
    assert "was not reached for 12 s: refused; check the network" in caplog.records[0].getMessage()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("status", "is_reached"),
    [(200, True), (403, True), (404, True), (429, True), (401, False), (500, False), (503, False)],
)
async def test_responses_that_count(transport: TransportType, status: int, is_reached: bool) -> None:
    """A refusal is an answer; credentials that do not work, or an API server that fails, are not."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"reason": "Any", "message": "m"}, status=status)

    clock = StillClock()
    async with serving(handler) as url:
        access = KubeAccess(url, "default")
        async with KubeApi(access, user_agent="test", transport=transport, monotonic=clock.monotonic) as api:
            try:
                await api.get("/x")
            except KubeApiError:
                assert status != 200
            clock.pass_time(7)
            assert api.reachability.unreachable_seconds() == (0 if is_reached else 7)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_response_counts_for_all_clients_of_the_connections(transport: TransportType) -> None:
    """Also a call that a variant with a shorter timeout gave up; an event of a watch ends it."""
    clock = StillClock()
    is_silent = True

    async def handler(request: web.Request) -> web.StreamResponse:
        if is_silent:
            await request.read()
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(text='{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}\n')

    async with serving(handler) as url:
        access = KubeAccess(url, "default")
        async with KubeApi(access, user_agent="test", transport=transport, monotonic=clock.monotonic) as api:
            with pytest.raises(KubeApiError):
                await api.variant(timeout_seconds=1.0).get("/x")
            clock.pass_time(7)
            assert api.reachability.unreachable_seconds() == 7
            is_silent = False
            assert [each["type"] async for each in api.watch("/x", "1")] == ["BOOKMARK"]
            assert api.reachability.unreachable_seconds() == 0
