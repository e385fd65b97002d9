"""The age of the oldest message, which the gauge and its alert use."""

import pytest

from chaski_core.ports import VisibilityChange
from chaski_embedded.broker.broker import EmbeddedBroker
from contract.conftest import FIFO, QueueWorld
from support.clocks import SteppedClock


@pytest.mark.parametrize("queues", ["embedded"], indirect=True)
async def test_the_oldest_message_is_known_in_every_state(
    queues: QueueWorld, broker: EmbeddedBroker, clock: SteppedClock
) -> None:
    """Waiting, in flight, hidden for a backoff, blocked, delayed: always the time of the oldest; None if empty."""
    queue = await queues.make(**FIFO, DelaySeconds="10")
    assert (await queue.counts()).oldest_sent_at is None
    began = clock.now_ms()
    await queues.send(queue, "a1", "a2")
    await queues.pass_time(5)
    await queues.send(queue, "b1")
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began, abs=2_000)  # real time passes too
    await queues.pass_time(20)
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began, abs=2_000)
    first, *_ = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began, abs=2_000)
    await queue.change_visibility([VisibilityChange(first.receipt_handle, 3_600)])
    await queues.pass_time(120)
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began, abs=2_000)
    await queue.delete([first.receipt_handle])
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began, abs=2_000)
    (second, third) = await queue.receive(max_messages=10, wait_seconds=0, visibility_seconds=60, attempt_id="")
    await queue.delete([second.receipt_handle])
    assert (await queue.counts()).oldest_sent_at == pytest.approx(began + 5_000, abs=2_000)
    await queue.delete([third.receipt_handle])
    assert (await queue.counts()).oldest_sent_at is None
    assert broker.file.exists()
