"""The metrics of settled messages, in virtual time: delivered, dead-lettered, and by origin."""

import pytest

from chaski_core.message.envelope import Metadata, write_envelope
from chaski_core.route.model import Ordering
from chaski_worker.observability.reporting import origin_of
from support.metric_pages import value
from support.worker.harness import FakeTarget, WorkerHarness, make_route
from support.worker.memory_backend import unavailable

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("ordering", [Ordering.RELAXED, Ordering.STRICT], ids=str)
SETTLED = "chaski_messages_settled_total"


@BOTH
@pytest.mark.promise(13)
async def test_every_accepted_message_is_settled_once(ordering: Ordering) -> None:
    """As delivered or dead-lettered, whatever retries it had."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda _s, number, _a: 404 if number % 4 == 0 else 200))
    for number in range(20):
        await harness.send("s", number)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, SETTLED, origin="ingest", end="delivered") == 15
    assert value(harness.metrics, SETTLED, origin="ingest", end="dead_lettered") == 5
    assert value(harness.metrics, SETTLED) == 20


async def test_messages_that_ingest_did_not_accept_have_another_origin() -> None:
    """A replay, and a message that another program sent to the queue."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda *_: 200))
    document = {"subject": "s", "body": {"url": "http://t0.example/"}}
    replayed = write_envelope(document, Metadata(id="s-1", accepted_at=1, epoch=1))
    foreign = write_envelope(document, Metadata(id="s-2"))
    await harness.put("mem://p0", replayed, "s", "k1")
    await harness.put("mem://p0", foreign, "s", "k2")
    await harness.put("mem://p0", b"nonsense", "s", "k3")
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, SETTLED, origin="replay", end="delivered") == 1
    assert value(harness.metrics, SETTLED, origin="other", end="delivered") == 1
    assert value(harness.metrics, SETTLED, origin="other", end="dead_lettered") == 1
    assert value(harness.metrics, SETTLED, origin="ingest") == 0
    assert value(harness.metrics, "chaski_message_latency_seconds_count") == 0


async def test_latency_counts_from_the_acceptance_over_all_retries() -> None:
    """Two failures on a rung of 5 s: more than ten seconds."""
    harness = WorkerHarness(make_route(), FakeTarget(lambda _s, _n, attempt: 500 if attempt < 3 else 200))
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, "chaski_message_latency_seconds_count", queue="messages") == 1
    assert 10 <= value(harness.metrics, "chaski_message_latency_seconds_sum", queue="messages") < 30


@BOTH
async def test_failed_writes_to_the_store_are_counted_and_retried(ordering: Ordering) -> None:
    """The message waits, and an alert uses the counter."""
    harness = WorkerHarness(make_route(ordering), FakeTarget(lambda *_: 302))
    refusals = iter(["put"] * 3)

    def refuse(action: str) -> None:
        if action == "put" and next(refusals, None):
            raise unavailable()

    harness.backend.faults.before = refuse
    await harness.send("s", 0)
    harness.start()
    await harness.wait_until_empty()
    await harness.stop()
    assert value(harness.metrics, "chaski_handover_failures_total", to="dead_letters") == 3
    assert value(harness.metrics, SETTLED, end="dead_lettered") == 1


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        (None, "other"),
        (Metadata(id="a"), "other"),
        (Metadata(id="a", accepted_at=1), "ingest"),
        (Metadata(id="a", accepted_at=1, epoch=2), "replay"),
    ],
    ids=["none", "not-accepted", "accepted", "replayed"],
)
def test_the_origin_of_a_message_is_in_its_metadata(metadata: Metadata | None, origin: str) -> None:
    """Nothing else is stored for it."""
    assert origin_of(metadata) == origin
