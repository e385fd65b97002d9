"""Whatever happens to an SQS call on its way, its result is right, and the next call works."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import Failed, OutgoingMessage, QueueCounts, ReceivedMessage, Sent, VisibilityChange
from integration.aws.conftest import ANSWER_SECONDS, Harmed
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

PASSING: dict[str, tuple[Fault, str]] = {
    "cut": (cut, "connection"),
    "cut after its effect": (cut_after_effect, "connection"),
    "cut in the answer": (cut_in_answer, "connection"),
    "swallowed": (swallow, "timeout"),
    "answer swallowed": (swallow_answer, "timeout"),
    "late": (delay(2 * ANSWER_SECONDS), "timeout"),
    "500": (refuse(500, "com.amazon.coral.service#InternalFailure"), "server_error"),
    "503 without a body": (refuse(503), "server_error"),
    "throttled": (refuse(403, "com.amazonaws.sqs#RequestThrottled", query_code="RequestThrottled"), "throttled"),
    "throttled in another spelling": (refuse(400, "ThrottlingException"), "throttled"),
    "throttled by KMS": (refuse(400, "com.amazonaws.sqs#KmsThrottled"), "throttled"),
    "not the service": (nonsense, "server_error"),
}


async def take(harmed: Harmed, wait: float = 0, attempt: str = "") -> Sequence[ReceivedMessage]:
    """A receive through the proxy."""
    return await harmed.queue.receive(max_messages=10, wait_seconds=wait, visibility_seconds=30, attempt_id=attempt)


async def sends(harmed: Harmed) -> None:
    """A send puts the messages there once, in order."""
    sent = await harmed.queue.send([OutgoingMessage(name, "a", name.decode()) for name in (b"a1", b"a2")])
    assert [type(each) for each in sent] == [Sent, Sent]
    assert await harmed.rest() == ["a1", "a2"]


async def receives(harmed: Harmed) -> None:
    """A receive takes the messages, and they are held."""
    await harmed.fill("a1", "a2")
    assert [message.body for message in await take(harmed)] == [b"a1", b"a2"]
    assert await harmed.rest() == []


async def deletes(harmed: Harmed) -> None:
    """A delete removes the messages."""
    await harmed.fill("a1", "b1")
    held = await harmed.behind.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    assert await harmed.queue.delete([message.receipt_handle for message in held]) == [None, None]
    assert (await harmed.behind.counts()).total == 0


async def changes(harmed: Harmed) -> None:
    """A change of visibility extends the hold."""
    await harmed.fill("a1", "b1")
    held = await harmed.behind.receive(max_messages=10, wait_seconds=0, visibility_seconds=30, attempt_id="")
    extended = [VisibilityChange(message.receipt_handle, 120) for message in held]
    assert await harmed.queue.change_visibility(extended) == [None, None]
    harmed.clock.pass_time(60)
    assert await harmed.rest() == []


async def counts(harmed: Harmed) -> None:
    """The counts are those of the queue."""
    await harmed.fill("a1")
    assert await harmed.queue.counts() == QueueCounts(visible=1, in_flight=0, delayed=0)


Act = Callable[[Harmed], Awaitable[None]]
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
async def test_one_fault_changes_no_result(harmed: Harmed, action: str, fault: str) -> None:
    """The call is tried again by itself, its effect is there once, and both tries are counted."""
    harm, result = PASSING[fault]
    harmed.proxy.plan(action, harm)
    await ACTS[action](harmed)
    assert harmed.requests == [(action, result), (action, "ok")]


@pytest.mark.promise(10)
@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize("fault", ["cut", "swallowed", "503 without a body", "throttled"])
async def test_lasting_fault_is_told_and_ends_with_its_cause(harmed: Harmed, action: str, fault: str) -> None:
    """After three tries the caller hears that the queue is away; once it is back, the next call works."""
    harm, result = PASSING[fault]
    harmed.proxy.set_lasting(harm)
    with pytest.raises(BackendUnavailableError):
        await ACTS[action](harmed)
    assert harmed.requests == [(action, result)] * 3
    harmed.proxy.heal()
    harmed.requests.clear()
    assert (await harmed.queue.counts()).in_flight >= 0
    assert harmed.requests == [("GetQueueAttributes", "ok")]


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
async def test_refusal_is_final(harmed: Harmed, action: str, refusal: Fault, code: str) -> None:
    """What would fail again is not tried again, and its code has one spelling."""
    harmed.proxy.plan(action, refusal)
    with pytest.raises(BackendRejectedError) as refused:
        await ACTS[action](harmed)
    assert refused.value.code == code
    assert harmed.requests == [(action, "rejected")]


async def test_failed_entries_inside_a_200_are_told_apart(harmed: Harmed) -> None:
    """Each entry has its own result, in the order of the entries, and whose fault it was."""
    harmed.proxy.plan("SendMessageBatch", fail_entries("1", code="InvalidMessageContents", sender_fault=True))
    sent = await harmed.queue.send([OutgoingMessage(name.encode(), name, name) for name in "abc"])
    assert [type(each) for each in sent] == [Sent, Failed, Sent]
    assert sent[1] == Failed("InvalidMessageContents", "as wanted", sender_fault=True)
    assert sorted(await harmed.rest()) == ["a", "c"]


@pytest.mark.parametrize("ids", [("0",), ("1",), ("0", "1")], ids=str)
async def test_entries_of_deletes_and_changes_fail_alone(harmed: Harmed, ids: tuple[str, ...]) -> None:
    """A failed entry fails nothing else, and stays what it was."""
    await harmed.fill("a1", "b1")
    held = await take(harmed)
    harmed.proxy.plan("ChangeMessageVisibilityBatch", fail_entries(*ids))
    changed = await harmed.queue.change_visibility([VisibilityChange(each.receipt_handle, 60) for each in held])
    assert [result is not None for result in changed] == ["0" in ids, "1" in ids]
    harmed.proxy.plan("DeleteMessageBatch", fail_entries(*ids))
    deleted = await harmed.queue.delete([each.receipt_handle for each in held])
    assert [result is not None for result in deleted] == ["0" in ids, "1" in ids]
    assert (await harmed.behind.counts()).total == len(ids)


async def test_entry_without_a_result_counts_as_failed(harmed: Harmed) -> None:
    """Nobody may take it for sent or deleted."""
    harmed.proxy.plan("SendMessageBatch", forget_entries("0"))
    sent = await harmed.queue.send([OutgoingMessage(name.encode(), name, name) for name in "ab"])
    assert isinstance(sent[0], Failed)
    assert (sent[0].code, sent[0].sender_fault) == ("NotAnswered", False)
    assert isinstance(sent[1], Sent)
    held = await take(harmed)
    harmed.proxy.plan("DeleteMessageBatch", forget_entries("1"))
    assert [getattr(each, "code", None) for each in await harmed.queue.delete([m.receipt_handle for m in held])] == [
        None,
        "NotAnswered",
    ]


async def test_repeated_receive_asks_under_the_same_attempt(harmed: Harmed) -> None:
    """A lost answer locks nothing, also where the caller named no attempt."""
    await harmed.fill("a1")
    harmed.proxy.plan("ReceiveMessage", cut_after_effect, cut_after_effect)
    assert [message.body for message in await take(harmed)] == [b"a1"]


async def test_repeated_release_is_told_as_expired(harmed: Harmed) -> None:
    """The first try gave the message back and its answer was lost: the message is free, and its handle is worth nothing."""
    await harmed.fill("a1")
    (held,) = await take(harmed)
    harmed.proxy.plan("ChangeMessageVisibilityBatch", cut_after_effect)
    (result,) = await harmed.queue.change_visibility([VisibilityChange(held.receipt_handle, 0)])
    assert isinstance(result, Failed)
    assert result.sender_fault
    assert await harmed.rest() == ["a1"]


@pytest.mark.promise(9)
async def test_unanswered_polls_hold_up_no_other_call(harmed: Harmed) -> None:
    """Forty receives that nobody answers leave sends, deletes and counts as fast as before."""
    harmed.proxy.set_lasting(swallow, "ReceiveMessage")
    polls = [asyncio.create_task(take(harmed, wait=20)) for _ in range(40)]
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    for number in range(10):
        await harmed.queue.send([OutgoingMessage(b"x", "a", f"x{number}")])
        assert (await harmed.queue.counts()).total == number + 1
    assert time.monotonic() - begun < 2
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


@pytest.mark.promise(11)
@pytest.mark.parametrize("fault", [swallow_answer, cut_after_effect, cut_in_answer], ids=lambda fault: fault.__name__)
async def test_cancelled_receive_whose_answer_is_lost_is_given_back(harmed: Harmed, fault: Fault) -> None:
    """The adapter asks for the same attempt again, and what it gets is free for others."""
    await harmed.fill("a1", "a2")
    harmed.proxy.plan(
        "ReceiveMessage", fault, swallow
    )  # so that it is cancelled before a try of its own gets the answer
    receiving = asyncio.create_task(take(harmed, attempt="lost"))
    while (await harmed.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    deadline = time.monotonic() + 5
    while (await harmed.behind.counts()).in_flight and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert await harmed.rest() == ["a1", "a2"]


async def test_attempt_that_is_asked_again_at_once_leaves_no_poll_behind(harmed: Harmed) -> None:
    """The first request ends before the second begins, also where its caller left a moment ago."""
    harmed.proxy.plan("ReceiveMessage", swallow)

    async def ask_twice() -> Sequence[ReceivedMessage]:
        try:
            return await take(harmed, wait=20, attempt="mine")
        except asyncio.CancelledError:
            return await take(harmed, wait=20, attempt="mine")

    asking = asyncio.create_task(ask_twice())
    while not harmed.proxy.seen:
        await asyncio.sleep(0.005)
    asking.cancel()
    while len(harmed.proxy.seen) < 2:
        await asyncio.sleep(0.005)
    assert harmed.requests == [("ReceiveMessage", "cancelled")]
    await harmed.fill("a1")
    assert [message.body for message in await asyncio.wait_for(asking, 5)] == [b"a1"]


@pytest.mark.promise(3)
async def test_hand_back_under_way_ends_before_the_same_attempt_is_asked_again(harmed: Harmed) -> None:
    """Else it would end the hold of whoever asked."""
    arrived = asyncio.Event()

    async def arrive_late(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)  # on its way, whether or not its sender still waits
        answer = await exchange.ask()
        arrived.set()
        await exchange.answer(*answer)

    await harmed.fill("a1")
    harmed.proxy.plan("ReceiveMessage", delay(0.2))
    harmed.proxy.plan("ChangeMessageVisibilityBatch", arrive_late)
    receiving = asyncio.create_task(take(harmed, attempt="mine"))
    while (await harmed.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    while "ChangeMessageVisibilityBatch" not in harmed.proxy.seen:
        await asyncio.sleep(0.005)
    again = await take(harmed, attempt="mine")
    assert [message.body for message in again] == [b"a1"]
    await asyncio.wait_for(arrived.wait(), 5)
    assert await harmed.rest() == []
    assert await harmed.queue.delete([message.receipt_handle for message in again]) == [None]


@pytest.mark.promise(11)
async def test_closing_gives_back_at_once_what_a_pending_poll_took(harmed: Harmed) -> None:
    """A process that ends does not wait for its long polls, and locks nothing."""
    harmed.proxy.plan("ReceiveMessage", swallow_answer)
    await harmed.fill("a1")
    receiving = asyncio.create_task(take(harmed, wait=20))
    while (await harmed.behind.counts()).in_flight == 0:
        await asyncio.sleep(0.005)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    begun = time.monotonic()
    await harmed.queue.close()
    assert time.monotonic() - begun < 1
    assert await harmed.rest() == ["a1"]


async def test_closing_does_not_wait_for_a_queue_that_is_away(harmed: Harmed, caplog: pytest.LogCaptureFixture) -> None:
    """What can't be given back is told, and its visibility timeout frees it."""
    harmed.proxy.set_lasting(cut)
    receiving = asyncio.create_task(take(harmed, wait=20))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    begun = time.monotonic()
    await harmed.queue.close()
    assert time.monotonic() - begun < 5
    assert "may hold messages until their visibility timeout" in caplog.text
