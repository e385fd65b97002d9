"""Batching of messages into calls to their queues."""

import asyncio
import logging

import pytest

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_ingest.settings import SendingSettings
from chaski_ingest.submission.queue_batching import Batcher, NotSent, Result
from unit.ingest.fakes import FakeBackend, FakeQueue

pytestmark = pytest.mark.looptime


def message(name: str, size: int = 20) -> OutgoingMessage:
    """A message of a subject of its own."""
    return OutgoingMessage(b'{"subject":"%s"}'.ljust(size) % name.encode(), name, f"{name}:0:first:0")


class Bench:
    """A batcher with one fake queue."""

    def __init__(self, queue: FakeQueue, settings: SendingSettings | None = None) -> None:
        self.queue = queue
        self.sizes: list[int] = []
        self.batcher = Batcher(FakeBackend(lambda _: queue), settings or SendingSettings(), self.sizes.append)  # type: ignore[arg-type]  # the fake has the methods that a batcher calls

    def start(self, name: str, size: int = 20) -> "asyncio.Task[Result]":
        """Starts to send a message."""
        return asyncio.create_task(self.batcher.send("queue", message(name, size)))


@pytest.mark.promise(1)
async def test_a_send_ends_only_after_the_queue_has_acknowledged_it() -> None:
    """A 202 depends on this."""
    bench = Bench(FakeQueue(delay=2.0))
    sending = bench.start("a")
    await asyncio.sleep(1.9)
    assert not sending.done()
    await asyncio.sleep(0.2)
    assert isinstance(sending.result(), Sent)


async def test_concurrent_messages_to_an_idle_queue_share_a_call_at_once() -> None:
    """No linger time while no call is in flight."""
    bench = Bench(FakeQueue())
    results = await asyncio.gather(*(bench.start(f"s{n}") for n in range(4)))
    assert asyncio.get_running_loop().time() == 0
    assert all(isinstance(result, Sent) for result in results)
    assert bench.sizes == [4]


async def test_while_a_call_is_in_flight_messages_wait_for_the_linger_time() -> None:
    """Then they are sent together, though the first call has not ended."""
    bench = Bench(FakeQueue(delay=1.0), SendingSettings(linger_seconds=0.25))
    sends = [bench.start("first")]
    for n in range(3):
        await asyncio.sleep(0.05)
        sends.append(bench.start(f"later{n}"))
    await asyncio.sleep(0.14)
    assert bench.queue.subjects == [["first"]]
    await asyncio.sleep(0.02)
    assert bench.queue.subjects == [["first"], ["later0", "later1", "later2"]]
    await asyncio.gather(*sends)


async def test_ten_waiting_messages_are_sent_without_lingering() -> None:
    """A full batch has nothing to wait for."""
    bench = Bench(FakeQueue(delay=1.0), SendingSettings(linger_seconds=100))
    sends = [bench.start("first")]
    await asyncio.sleep(0.1)
    sends += [bench.start(f"s{n}") for n in range(25)]
    await asyncio.sleep(0.1)
    assert [len(call) for call in bench.queue.calls] == [1, 10, 10]
    await asyncio.gather(*sends)


async def test_calls_in_flight_of_a_queue_are_limited() -> None:
    """Waiting messages are sent in order as soon as a call ends."""
    bench = Bench(FakeQueue(delay=1.0), SendingSettings(batches_in_flight=2, linger_seconds=0.01))
    await asyncio.gather(*(bench.start(f"s{n:02}") for n in range(45)))
    assert bench.queue.max_running == 2
    assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.1)
    assert [name for call in bench.queue.subjects for name in call] == [f"s{n:02}" for n in range(45)]


async def test_a_call_holds_at_most_a_mebibyte() -> None:
    """API_SendMessageBatch counts the sum of all entries."""
    bench = Bench(FakeQueue())
    await asyncio.gather(*(bench.start(f"s{n}", 300_000) for n in range(7)))
    assert bench.sizes == [3, 3, 1]


@pytest.mark.promise(1)
async def test_a_failed_entry_of_a_successful_call_is_never_sent_again() -> None:
    """The queue may have accepted a later message of its subject by then."""

    def fail_b(_: int, outgoing: OutgoingMessage) -> Sent | Failed:
        if outgoing.group_id == "b":
            return Failed("InternalError", "try again", sender_fault=False)
        return Sent("id", 1)

    bench = Bench(FakeQueue(outcome=fail_b))
    a, b, c = await asyncio.gather(*(bench.start(name) for name in "abc"))
    await asyncio.sleep(60)
    assert isinstance(a, Sent)
    assert isinstance(c, Sent)
    assert isinstance(b, NotSent)
    assert "InternalError" in b.reason
    assert len(bench.queue.calls) == 1


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    ("error", "reason", "wait"),
    [
        (BackendUnavailableError("connection refused", retry_after_seconds=7), "connection refused", 7),
        (BackendRejectedError("AccessDenied", "blocked"), "AccessDenied", None),
        (ZeroDivisionError("a bug"), "unexpected", None),
    ],
    ids=["unavailable", "rejected", "bug"],
)
async def test_a_call_that_fails_fails_all_its_messages_and_the_next_one_works(
    error: Exception, reason: str, wait: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """No message is acknowledged, none waits for ever, and the batcher keeps working."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench(FakeQueue(error=error))
    for result in await asyncio.gather(bench.start("a"), bench.start("b")):
        assert isinstance(result, NotSent)
        assert reason in result.reason
        assert result.retry_after_seconds == wait
    bench.queue.error = None
    assert isinstance(await bench.start("c"), Sent)


@pytest.mark.promise(1)
async def test_a_queue_that_does_not_answer_fails_its_messages_in_bounded_time() -> None:
    """Messages that waited too long behind it are not sent at all."""
    settings = SendingSettings(batches_in_flight=1, call_timeout_seconds=10, max_wait_seconds=5)
    bench = Bench(FakeQueue(delay=1_000), settings)
    first, second = bench.start("first"), None
    await asyncio.sleep(1)
    second = bench.start("second")
    results = await asyncio.gather(first, second)
    assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)
    assert [result.reason for result in results if isinstance(result, NotSent)] == [
        "the queue did not answer within 10 s",
        "the queue was busy for 5 s; nothing was sent",
    ]
    assert bench.queue.subjects == [["first"]]


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    ("settings", "size"),
    [(SendingSettings(max_waiting_messages=3), 20), (SendingSettings(max_waiting_bytes=3_000), 700)],
    ids=["messages", "bytes"],
)
async def test_messages_beyond_the_buffer_are_refused_at_once(settings: SendingSettings, size: int) -> None:
    """Acknowledged messages free their space."""
    bench = Bench(FakeQueue(delay=1), settings)
    sends = [bench.start(f"s{n}", size) for n in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sends[3].done()
    refused = sends[3].result()
    assert isinstance(refused, NotSent)
    assert refused.overloaded
    await asyncio.gather(*sends)
    assert bench.batcher.waiting == 0
    assert isinstance(await bench.start("again", size), Sent)


async def test_a_cancelled_message_is_not_sent() -> None:
    """Its request got no response, so nothing was promised."""
    bench = Bench(FakeQueue(delay=1), SendingSettings(linger_seconds=0.5))
    first = bench.start("first")
    await asyncio.sleep(0.1)
    second = bench.start("second")
    await asyncio.sleep(0.1)
    second.cancel()
    await first
    await asyncio.sleep(5)
    assert bench.queue.subjects == [["first"]]
    assert bench.batcher.waiting == 0


async def test_messages_of_one_batch_share_one_call_in_order() -> None:
    """Others fill the rest of the call, but never split them."""
    bench = Bench(FakeQueue(delay=1), SendingSettings(linger_seconds=0.1))
    units = [[message(f"u{unit}-{n}") for n in range(6)] for unit in range(2)]
    single = bench.start("single")
    await asyncio.gather(single, *(bench.batcher.send_batch("queue", unit) for unit in units))
    assert bench.queue.subjects == [["single", *(f"u0-{n}" for n in range(6))], [f"u1-{n}" for n in range(6)]]


async def test_draining_waits_for_the_calls_in_flight() -> None:
    """Afterwards this process sends nothing to a queue."""
    bench = Bench(FakeQueue(delay=3))
    sending = bench.start("a")
    await asyncio.sleep(1)
    await bench.batcher.drain()
    assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.1)
    assert isinstance(await sending, Sent)
