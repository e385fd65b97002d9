"""Reports of shortages, and the check of the limit on open files."""

import asyncio
import logging

import pytest

from chaski_runtime.observability.metrics.registry import MetricsRegistry
from chaski_runtime.process import descriptors
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.shortage.detection import Shortage, ShortageReason
from chaski_worker.shortage.reporting import Shortages, too_few_descriptors
from support.clocks import StillClock
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, loop_time, make_route, short_while


@pytest.mark.looptime
async def test_a_shortage_is_logged_once_however_many_wait(caplog: pytest.LogCaptureFixture) -> None:
    """And again only when it recurs after it was over; a gauge shows whether it is active."""
    times = [(0, 50), (300, 310)]
    harness = WorkerHarness(
        make_route(), FakeTarget(short_while(lambda _: any(begin <= loop_time() < end for begin, end in times)))
    )

    def logged() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.name == "chaski_worker.shortage.reporting"]

    def gauge() -> float:
        return value(harness.metrics, "chaski_shortage", reason="descriptors", target="all")

    with caplog.at_level(logging.INFO):
        for subject in range(50):
            await harness.send(f"s{subject}", 0)
        harness.start()
        await asyncio.sleep(40)
        assert (len(logged()), gauge()) == (1, 1)
        assert "ns/r, target t0: no descriptor is left" in logged()[0]
        await harness.wait_until_empty(within=60)
        await asyncio.sleep(301 - loop_time())
        assert gauge() == 0
        for subject in range(50):
            await harness.send(f"s{subject}", 1)
        await harness.wait_until_empty(within=60)
        assert (len(logged()), gauge()) == (2, 1)
        await harness.stop()


def test_another_cause_of_a_targets_shortage_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As a token endpoint that was unavailable and then refuses the client; each cause once, two causes 30 s apart."""
    clock = StillClock()
    metrics = WorkerMetrics(MetricsRegistry())
    shortages = Shortages(make_route(), metrics, clock)

    def logged_after(seconds: float, cause: str) -> list[str]:
        caplog.clear()
        clock.pass_time(seconds)
        shortages.observe(Shortage(ShortageReason.CREDENTIALS, cause, "crm"))
        return [each.getMessage().partition("crm: ")[2].partition(";")[0] for each in caplog.records]

    assert logged_after(0, "answered 503") == ["answered 503"]
    assert logged_after(1, "answered 401 invalid_client") == []
    assert logged_after(30, "answered 401 invalid_client") == ["answered 401 invalid_client"]
    assert logged_after(31, "answered 401 invalid_client") == []
    assert logged_after(31, "answered 503") == ["answered 503"]
    assert logged_after(121, "answered 503") == ["answered 503"]


def test_a_limit_too_low_for_the_concurrency_is_reported_with_the_fix() -> None:
    """For every consumer of the process; without a limit any concurrency is possible."""
    assert too_few_descriptors(1_024, 2, 20_000) is None
    assert too_few_descriptors(1_024, 1, None) is None
    assert too_few_descriptors(64, 2, 256) is None
    found = too_few_descriptors(1_024, 1, 1_024)
    assert found is not None
    assert "concurrencyPerPod 1024" in found
    assert "set concurrencyPerPod to 928" in found
    assert "ulimit -Hn" in found
    assert too_few_descriptors(81, 2, 256) is not None


def test_some_descriptors_are_reserved() -> None:
    """64 of a large limit, a quarter of a small one."""
    assert [descriptors.ceiling(limit) for limit in (None, 64, 256, 1_024, 1_048_576)] == [
        None,
        48,
        192,
        960,
        1_048_512,
    ]
