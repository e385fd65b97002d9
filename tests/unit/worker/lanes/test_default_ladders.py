"""A target that is unavailable for an hour, without a breaker and with the ladders that a route has by default, in virtual time."""

import itertools
from collections import Counter

import pytest

from chaski_core.route.loading import load_route
from chaski_core.route.model import Ordering
from contract.crd.making import changed
from support.worker.harness import FakeTarget, WorkerHarness, first_attempts, loop_time, make_route

pytestmark = pytest.mark.looptime

HOUR = 3_600.0
SUBJECTS, NUMBERS = 5, range(4)


@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(4)
@pytest.mark.parametrize("ordering", list(Ordering), ids=str)
@pytest.mark.parametrize("status", [503, 429, 0])
async def test_an_hour_of_outage_leaves_no_dead_letter(ordering: Ordering, status: int) -> None:
    """All are delivered once, by the retry that follows an hour after the one before, and the first attempts are in order."""
    target = FakeTarget(lambda *_: status if loop_time() < HOUR else 200)
    retry = load_route(changed({"spec.ordering": ordering.value})).retry
    harness = WorkerHarness(make_route(ordering, policy=retry), target)
    for number, subject in itertools.product(NUMBERS, range(SUBJECTS)):
        await harness.send(f"s{subject}", number)
    harness.start()
    await harness.wait_until_empty(within=3 * HOUR, poll_every=30)
    await harness.stop()

    assert harness.backend.dead_letters.kept == {}
    for subject in range(SUBJECTS):
        calls = target.of(f"s{subject}")
        assert first_attempts(calls) == list(NUMBERS)
        assert Counter(call.number for call in calls if call.status == 200) == Counter(NUMBERS)
        delivered = [call.number for call in calls if call.status == 200]
        assert delivered == list(NUMBERS), "as all failed in the same way, the rungs keep their order"
        if ordering is Ordering.STRICT:
            assert [call.number for call in calls if call.at < HOUR] == [0] * 4
