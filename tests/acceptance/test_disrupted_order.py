"""Order, while one of three sets of workers is killed and another is paused every few seconds."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults.disrupted_workers import MAKERS, disrupted_cluster
from support.processes.dev import recording_target, route, send_batch
from support.worker.ordered_traffic import RETRY, OrderedTraffic, answer, first_arrivals

pytestmark = pytest.mark.landing

LOAD = OrderedTraffic(subjects=150, messages=15)
SECONDS_BETWEEN_NUMBERS = 1.0  # so that every subject is under way while the workers are disrupted


@pytest.mark.timeout(300)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])
@MAKERS
async def test_order_survives_kills_and_pauses(
    tmp_path: Path, maker: str, ordering: str, report: Callable[[str], None]
) -> None:
    """150 subjects of 15 messages that fail now and then: all attempts of each ladder, in order, repeats explained."""
    async with recording_target(answer) as target:
        target.count_arrivals = True
        delivery = {"timeoutSeconds": 3, "concurrencyPerPod": 64}
        document = route("ordered", target.url, ordering=ordering, retry=RETRY, delivery=delivery)
        async with disrupted_cluster(maker, tmp_path, document) as disrupted:
            for lines in LOAD.chunks(150, target.url):
                results = await send_batch(disrupted.http, disrupted.running.url, "t/ordered", lines)
                assert {result["status"] for result in results} == {202}
                await asyncio.sleep(SECONDS_BETWEEN_NUMBERS)
            done = await disrupted.finished(
                target, lambda: len(first_arrivals(target.arrived)) >= LOAD.attempts, 200, LOAD.expected
            )
            report(done)
            kept = await disrupted.dead_letters()
    LOAD.check_attempts(target.arrived)
    assert set(kept) == LOAD.exhausted
    assert all(letter.attempts == len(LOAD.expected[each]) for each, letter in kept.items())
    LOAD.check_order(ordering, target.arrived, target.seen)
