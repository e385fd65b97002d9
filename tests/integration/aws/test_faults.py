"""For every fault of an SQS call, its result is right, and the next call works."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, QueueCounts, ReceivedMessage, Sent, VisibilityChange
from integration.aws.conftest import RESPONSE_SECONDS, FaultySqs
from support.faults.proxy import (
    Exchange,
    Fault,
    cut,
    cut_after_effect,
    cut_in_answer,
    delay,
    fail_entries,
    forget_entries,
    nonsense,
    refuse,
    swallow,
    swallow_answer,
)

pytestmark = pytest.mark.landing

PASSING: dict[str, tuple[Fault, str]] = {
    "cut": (cut, "connection"),
    "cut after its effect": (cut_after_effect, "connection"),
    "cut in the answer": (cut_in_answer, "connection"),
    "swallowed": (swallow, "timeout"),
    "answer swallowed": (swallow_answer, "timeout"),
    "late": (delay(2 * RESPONSE_SECONDS), "timeout"),
    "500": (refuse(500, "com.amazon.coral.service#InternalFailure"), "server_error"),
    "503 without a body": (refuse(503), "server_error"),
    "throttled": (refuse(403, "com.amazonaws.sqs#RequestThrottled", query_code="RequestThrottled"), "throttled"),
    "throttled in another spelling": (refuse(400, "ThrottlingException"), "throttled"),
    "throttled by KMS": (refuse(400, "com.amazonaws.sqs#KmsThrottled"), "throttled"),
    "not the service": (nonsense, "server_error"),
}


async def take(faulty_sqs: FaultySqs, wait: float = 0, attempt: str = "") -> Sequence[ReceivedMessage]:
    """A receive through the proxy."""
    return await faulty_sqs.queue.receive(max_messages=10, wait_seconds=wait, visibility_seconds=30, attempt_id=attempt)


async def sends(faulty_sqs: FaultySqs) -> None:
    """A send stores the messages once, in order."""
    sent = await faulty_sqs.queue.send([OutgoingMessage(name, "a", name.decode()) for name in (b"a1", b"a2")])
    assert [type(each) for each in sent] == [Sent, Sent]
    assert await faulty_sqs.rest() == ["a1", "a2"]


async def receives(faulty_sqs: FaultySqs) -> None:
    """A receive returns the messages, and they are in flight."""
    await faulty_sqs.fill("a1", "a2")
    assert [message.body for message in await take(faulty_sqs)] == [b"a1", b"a2"]
    assert await faulty_sqs.rest() == []


async def deletes(faulty_sqs: FaultySqs) -> None:
    """A delete removes the messages."""
    await faulty_sqs.fill("a1", "b1")
    held = await faulty_sqs.behind.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    assert await faulty_sqs.queue.delete([message.receipt_handle for message in held]) == [None, None]
    assert (await faulty_sqs.behind.counts()).total == 0


async def changes(faulty_sqs: FaultySqs) -> None:
    """A change of visibility extends the timeout."""
    await faulty_sqs.fill("a1", "b1")
    held = await faulty_sqs.behind.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    extended = [VisibilityChange(message.receipt_handle, 120) for message in held]
    assert await faulty_sqs.queue.change_visibility(extended) == [None, None]
    faulty_sqs.clock.pass_time(60)
    assert await faulty_sqs.rest() == []


async def counts(faulty_sqs: FaultySqs) -> None:
    """The counts are those of the queue."""
    await faulty_sqs.fill("a1")
    assert await faulty_sqs.queue.counts() == QueueCounts(visible=1, in_flight=0, delayed=0)


Act = Callable[[FaultySqs], Awaitable[None]]
ACTS: dict[str, Act] = {
    "SendMessageBatch": sends,
    "ReceiveMessage": receives,
    "DeleteMessageBatch": deletes,
    "ChangeMessageVisibilityBatch": changes,
    "GetQueueAttributes": counts,
}


@pytest.mark.promise(10)
@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize("fault", PASSING)
async def test_one_fault_changes_no_result(faulty_sqs: FaultySqs, action: str, fault: str) -> None:
    """The call is retried, it takes effect once, and both tries are counted."""
    harm, result = PASSING[fault]
    faulty_sqs.proxy.plan(action, harm)
    await ACTS[action](faulty_sqs)
    assert faulty_sqs.requests == [(action, result), (action, "ok")]


@pytest.mark.promise(10)
@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize("fault", ["cut", "swallowed", "503 without a body", "throttled"])
async def test_lasting_fault_is_an_error_until_its_cause_ends(faulty_sqs: FaultySqs, action: str, fault: str) -> None:
    """After three tries the call fails with BackendUnavailableError; once the fault ends, the next call works."""
    harm, result = PASSING[fault]
    faulty_sqs.proxy.set_lasting(harm)
    with pytest.raises(BackendUnavailableError):
        await ACTS[action](faulty_sqs)
    assert faulty_sqs.requests == [(action, result)] * 3
    faulty_sqs.proxy.heal()
    faulty_sqs.requests.clear()
    assert (await faulty_sqs.queue.counts()).in_flight >= 0
    assert faulty_sqs.requests == [("GetQueueAttributes", "ok")]


@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (refuse(400, "com.amazonaws.sqs#QueueDoesNotExist"), "QueueDoesNotExist"),
        (refuse(400, query_code="AWS.SimpleQueueService.NonExistentQueue"), "QueueDoesNotExist"),
        (refuse(403, "AccessDeniedException"), "AccessDenied"),
        (refuse(400, "com.amazonaws.sqs#KmsDisabled"), "KmsDisabled"),
        (refuse(404), "HTTP404"),
    ],
    ids=["no queue", "no queue, in the former spelling", "not allowed", "key disabled", "not the service"],
)
async def test_refusal_is_final(faulty_sqs: FaultySqs, action: str, refusal: Fault, code: str) -> None:
    """A permanent failure is not retried, and its code has one spelling."""
    faulty_sqs.proxy.plan(action, refusal)
    with pytest.raises(BackendRejectedError) as refused:
        await ACTS[action](faulty_sqs)
    assert refused.value.code == code
    assert faulty_sqs.requests == [(action, "rejected")]


async def test_failed_entries_inside_a_200_have_their_own_results(faulty_sqs: FaultySqs) -> None:
    """Each entry has its own result, in the order of the entries, with the sender's fault."""
    faulty_sqs.proxy.plan("SendMessageBatch", fail_entries("1", code="InvalidMessageContents", sender_fault=True))
    sent = await faulty_sqs.queue.send([OutgoingMessage(name.encode(), name, name) for name in "abc"])
    assert [type(each) for each in sent] == [Sent, Failed, Sent]
    assert sent[1] == Failed("InvalidMessageContents", "as wanted", sender_fault=True)
    assert sorted(await faulty_sqs.rest()) == ["a", "c"]


@pytest.mark.parametrize("ids", [("0",), ("1",), ("0", "1")], ids=str)
async def test_entries_of_deletes_and_changes_fail_alone(faulty_sqs: FaultySqs, ids: tuple[str, ...]) -> None:
    """A failed entry does not affect others, and its message stays unchanged."""
    await faulty_sqs.fill("a1", "b1")
    held = await take(faulty_sqs)
    faulty_sqs.proxy.plan("ChangeMessageVisibilityBatch", fail_entries(*ids))
    changed = await faulty_sqs.queue.change_visibility([VisibilityChange(each.receipt_handle, 60) for each in held])
    assert [result is not None for result in changed] == ["0" in ids, "1" in ids]
    faulty_sqs.proxy.plan("DeleteMessageBatch", fail_entries(*ids))
    deleted = await faulty_sqs.queue.delete([each.receipt_handle for each in held])
    assert [result is not None for result in deleted] == ["0" in ids, "1" in ids]
    assert (await faulty_sqs.behind.counts()).total == len(ids)


async def test_entry_without_a_result_counts_as_failed(faulty_sqs: FaultySqs) -> None:
    """It must not count as sent or deleted."""
    faulty_sqs.proxy.plan("SendMessageBatch", forget_entries("0"))
    sent = await faulty_sqs.queue.send([OutgoingMessage(name.encode(), name, name) for name in "ab"])
    assert isinstance(sent[0], Failed)
    assert (sent[0].code, sent[0].sender_fault) == ("NotAnswered", False)
    assert isinstance(sent[1], Sent)
    held = await take(faulty_sqs)
    faulty_sqs.proxy.plan("DeleteMessageBatch", forget_entries("1"))
    assert [
        getattr(each, "code", None) for each in await faulty_sqs.queue.delete([m.receipt_handle for m in held])
    ] == [
        None,
        "NotAnswered",
    ]


async def test_retried_receive_has_the_same_attempt_id(faulty_sqs: FaultySqs) -> None:
    """A lost response locks nothing, also where the caller gave no attempt id."""
    await faulty_sqs.fill("a1")
    faulty_sqs.proxy.plan("ReceiveMessage", cut_after_effect, cut_after_effect)
    assert [message.body for message in await take(faulty_sqs)] == [b"a1"]


async def test_repeated_release_fails_as_expired(faulty_sqs: FaultySqs) -> None:
    """The first try released the message and its response was lost: the message is visible, and its handle expired."""
    await faulty_sqs.fill("a1")
    (held,) = await take(faulty_sqs)
    faulty_sqs.proxy.plan("ChangeMessageVisibilityBatch", cut_after_effect)
    (result,) = await faulty_sqs.queue.change_visibility([VisibilityChange(held.receipt_handle, 0)])
    assert isinstance(result, Failed)
    assert result.sender_fault
    assert await faulty_sqs.rest() == ["a1"]


@pytest.mark.promise(9)
async def test_unanswered_polls_delay_no_other_call(faulty_sqs: FaultySqs) -> None:
    """With forty unanswered receives, sends, deletes and counts are as fast as before."""
    faulty_sqs.proxy.set_lasting(swallow, "ReceiveMessage")
    polls = [asyncio.create_task(take(faulty_sqs, wait=20)) for _ in range(40)]
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    for number in range(10):
        await faulty_sqs.queue.send([OutgoingMessage(b"x", "a", f"x{number}")])
        assert (await faulty_sqs.queue.counts()).total == number + 1
    assert time.monotonic() - begun < 2
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


@pytest.mark.promise(11)
@pytest.mark.parametrize("fault", [swallow_answer, cut_after_effect, cut_in_answer], ids=lambda fault: fault.__name__)
async def test_cancelled_receive_whose_response_is_lost_is_released(faulty_sqs: FaultySqs, fault: Fault) -> None:
    """The adapter repeats the attempt and releases its messages."""
    await faulty_sqs.fill("a1", "a2")
    faulty_sqs.proxy.plan(
        "ReceiveMessage", fault, swallow
    )  # so that it is cancelled before its own retry gets the response
    receiving = asyncio.create_task(take(faulty_sqs, attempt="lost"))
    while (await faulty_sqs.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    deadline = time.monotonic() + 5
    while (await faulty_sqs.behind.counts()).in_flight and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert await faulty_sqs.rest() == ["a1", "a2"]


async def test_attempt_that_is_repeated_at_once_leaves_no_poll_behind(faulty_sqs: FaultySqs) -> None:
    """The first request ends before the second begins, also right after its caller was cancelled."""
    faulty_sqs.proxy.plan("ReceiveMessage", swallow)

    async def ask_twice() -> Sequence[ReceivedMessage]:
        try:
            return await take(faulty_sqs, wait=20, attempt="mine")
        except asyncio.CancelledError:
            return await take(faulty_sqs, wait=20, attempt="mine")

    asking = asyncio.create_task(ask_twice())
    while not faulty_sqs.proxy.seen:
        await asyncio.sleep(0.005)
    asking.cancel()
    while len(faulty_sqs.proxy.seen) < 2:
        await asyncio.sleep(0.005)
    assert faulty_sqs.requests == [("ReceiveMessage", "cancelled")]
    await faulty_sqs.fill("a1")
    assert [message.body for message in await asyncio.wait_for(asking, 5)] == [b"a1"]


@pytest.mark.promise(3)
async def test_pending_release_ends_before_the_same_attempt_is_repeated(faulty_sqs: FaultySqs) -> None:
    """Otherwise it would release the messages of the new caller."""
    arrived = asyncio.Event()

    async def arrive_late(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)  # in transit, whether or not its sender still waits
        answer = await exchange.ask()
        arrived.set()
        await exchange.answer(*answer)

    await faulty_sqs.fill("a1")
    faulty_sqs.proxy.plan("ReceiveMessage", delay(0.2))
    faulty_sqs.proxy.plan("ChangeMessageVisibilityBatch", arrive_late)
    receiving = asyncio.create_task(take(faulty_sqs, attempt="mine"))
    while (await faulty_sqs.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    while "ChangeMessageVisibilityBatch" not in faulty_sqs.proxy.seen:
        await asyncio.sleep(0.005)
    again = await take(faulty_sqs, attempt="mine")
    assert [message.body for message in again] == [b"a1"]
    await asyncio.wait_for(arrived.wait(), 5)
    assert await faulty_sqs.rest() == []
    assert await faulty_sqs.queue.delete([message.receipt_handle for message in again]) == [None]


@pytest.mark.promise(11)
async def test_closing_releases_messages_of_a_pending_poll_at_once(faulty_sqs: FaultySqs) -> None:
    """A closing process does not wait for its long polls, and locks nothing."""
    faulty_sqs.proxy.plan("ReceiveMessage", swallow_answer)
    await faulty_sqs.fill("a1")
    receiving = asyncio.create_task(take(faulty_sqs, wait=20))
    while (await faulty_sqs.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    begun = time.monotonic()
    await faulty_sqs.queue.close()
    assert time.monotonic() - begun < 1
    assert await faulty_sqs.rest() == ["a1"]


async def test_closing_does_not_wait_for_an_unavailable_queue(
    faulty_sqs: FaultySqs, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed release is logged, and the visibility timeout unlocks the messages."""
    faulty_sqs.proxy.set_lasting(cut)
    receiving = asyncio.create_task(take(faulty_sqs, wait=20))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    begun = time.monotonic()
    await faulty_sqs.queue.close()
    assert time.monotonic() - begun < 5
    assert "may lock messages until their visibility timeout" in caplog.text
