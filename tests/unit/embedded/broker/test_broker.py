"""Creating, changing, describing and deleting queues."""

import asyncio

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import OutgoingMessage
from chaski_embedded.broker.broker import EmbeddedBroker
from support.clocks import SteppedClock

FIFO = {"FifoQueue": "true"}


def message(name: str, size: int = 1) -> OutgoingMessage:
    """A message with its group's name as prefix."""
    return OutgoingMessage(b"x" * size, name[0], name)


async def test_queue_is_created_found_and_listed(broker: EmbeddedBroker) -> None:
    """By name, and by prefix, in order."""
    for name in ("b.fifo", "ab.fifo", "aa.fifo"):
        assert await broker.create_queue(name, FIFO) == f"embedded://{name}"
    assert await broker.queue_url("b.fifo") == "embedded://b.fifo"
    assert await broker.list_queues() == ["embedded://aa.fifo", "embedded://ab.fifo", "embedded://b.fifo"]
    assert await broker.list_queues("a") == ["embedded://aa.fifo", "embedded://ab.fifo"]


async def test_creating_a_queue_again_needs_the_same_attributes(broker: EmbeddedBroker) -> None:
    """API_CreateQueue: the same attributes return the URL, others are QueueNameExists."""
    url = await broker.create_queue("q.fifo", {**FIFO, "DelaySeconds": "5"})
    assert await broker.create_queue("q.fifo", {**FIFO, "DelaySeconds": "5"}) == url
    with pytest.raises(BackendRejectedError) as refused:
        await broker.create_queue("q.fifo", {**FIFO, "DelaySeconds": "6"})
    assert refused.value.code == "QueueNameExists"


async def test_attributes_are_complete(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """Defaults, settings, counts, times and the ARN."""
    url = await broker.create_queue("q.fifo", {**FIFO, "VisibilityTimeout": "120"})
    queue = broker.queue(url)
    await queue.send([message("a1"), message("a2"), message("b1")])
    await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=60, attempt_id="")
    attributes = await broker.attributes(url)
    assert attributes["VisibilityTimeout"] == "120"
    assert attributes["MessageRetentionPeriod"] == "345600"
    assert attributes["QueueArn"].endswith(":q.fifo")
    assert (attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]) == (
        "2",
        "1",
    )
    assert abs(int(attributes["CreatedTimestamp"]) * 1000 - clock.now_ms()) < 60_000


async def test_set_attributes_merges_and_takes_effect(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """Other attributes stay; delay and size limit apply at once, and LastModifiedTimestamp changes."""
    url = await broker.create_queue("q.fifo", {**FIFO, "VisibilityTimeout": "120"})
    queue = broker.queue(url)
    await queue.send([message("a1")])
    clock.pass_time(10)
    await broker.set_attributes(url, {"DelaySeconds": "900", "MaximumMessageSize": "1024"})
    attributes = await broker.attributes(url)
    assert (attributes["VisibilityTimeout"], attributes["DelaySeconds"]) == ("120", "900")
    assert int(attributes["LastModifiedTimestamp"]) > int(attributes["CreatedTimestamp"])
    assert (await queue.counts()).delayed == 1
    with pytest.raises(BackendRejectedError, match="1024 bytes"):
        await queue.send([message("a2"), message("b1", 1_025)])
    assert (await queue.counts()).total == 1


async def test_bad_attributes_change_nothing(broker: EmbeddedBroker) -> None:
    """One invalid value refuses the whole call."""
    url = await broker.create_queue("q.fifo", FIFO)
    with pytest.raises(BackendRejectedError) as refused:
        await broker.set_attributes(url, {"VisibilityTimeout": "60", "DelaySeconds": "901"})
    assert refused.value.code == "InvalidAttributeValue"
    assert (await broker.attributes(url))["VisibilityTimeout"] == "30"


async def test_scope_of_deduplication_stays_as_created(broker: EmbeddedBroker) -> None:
    """AWSV: changing it on a live queue had no effect."""
    url = await broker.create_queue("q.fifo", FIFO)
    await broker.set_attributes(url, {"DeduplicationScope": "messageGroup"})
    queue = broker.queue(url)
    first, second = await queue.send([OutgoingMessage(b"x", group, "same") for group in "ab"])
    assert first == second


async def test_policy_that_denies_sending_blocks_sends(broker: EmbeddedBroker) -> None:
    """Retired queues are blocked in this way; their messages can still be received."""
    url = await broker.create_queue("q.fifo", FIFO)
    queue = broker.queue(url)
    await queue.send([message("a1")])
    deny = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}]}'
    await broker.set_attributes(url, {"Policy": deny})
    with pytest.raises(BackendRejectedError) as refused:
        await queue.send([message("a2")])
    assert refused.value.code == "AccessDenied"
    assert len(await queue.receive(max_messages=9, wait_seconds=0, visibility_seconds=9, attempt_id="")) == 1


async def test_deleted_queue_loses_its_messages(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """Its name is free after 60 seconds; the new queue has none of the old messages and refuses old handles."""
    url = await broker.create_queue("q.fifo", FIFO)
    queue = broker.queue(url)
    await queue.send([message("a1"), message("a2")])
    (held,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=600, attempt_id="")
    await broker.delete_queue(url)
    for call in (queue.counts(), broker.attributes(url), broker.delete_queue(url), broker.queue_url("q.fifo")):
        with pytest.raises(BackendRejectedError) as gone:
            await call
        assert gone.value.code == "QueueDoesNotExist"
    with pytest.raises(BackendRejectedError) as soon:
        await broker.create_queue("q.fifo", FIFO)
    assert soon.value.code == "QueueDeletedRecently"
    clock.pass_time(61)
    await broker.create_queue("q.fifo", FIFO)
    assert (await queue.counts()).total == 0
    (refused,) = await queue.delete([held.receipt_handle])
    assert refused is not None
    assert refused.code == "ReceiptHandleIsInvalid"


async def test_deleting_a_queue_ends_its_long_polls(broker: EmbeddedBroker) -> None:
    """A waiting receive fails with QueueDoesNotExist."""
    url = await broker.create_queue("q.fifo", FIFO)
    waiting = asyncio.create_task(
        broker.queue(url).receive(max_messages=1, wait_seconds=20, visibility_seconds=30, attempt_id="")
    )
    await broker.attributes(url)
    await broker.delete_queue(url)
    with pytest.raises(BackendRejectedError) as gone:
        await asyncio.wait_for(waiting, 5)
    assert gone.value.code == "QueueDoesNotExist"


async def test_purge_is_allowed_once_a_minute(broker: EmbeddedBroker, clock: SteppedClock) -> None:
    """It deletes messages in flight, delayed ones, and deduplication entries."""
    url = await broker.create_queue("q.fifo", FIFO)
    queue = broker.queue(url)
    await queue.send([message("a1"), message("a2")])
    await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=600, attempt_id="")
    await broker.purge_queue(url)
    assert (await queue.counts()).total == 0
    await queue.send([message("a1")])
    assert (await queue.counts()).visible == 1
    with pytest.raises(BackendRejectedError) as soon:
        await broker.purge_queue(url)
    assert soon.value.code == "PurgeQueueInProgress"
    clock.pass_time(61)
    await broker.purge_queue(url)
    assert (await queue.counts()).total == 0


async def test_tags_are_added_replaced_and_removed(broker: EmbeddedBroker) -> None:
    """Tags belong to the queue and have no other effect."""
    url = await broker.create_queue("q.fifo", FIFO, {"a": "1", "b": "2"})
    await broker.tag(url, {"b": "3", "c": "4"})
    await broker.untag(url, ["a", "never"])
    assert await broker.list_tags(url) == {"b": "3", "c": "4"}


@pytest.mark.parametrize(
    ("outgoing", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([message(f"a{n}") for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([message(f"a{n}", 200_000) for n in range(6)], "BatchRequestTooLong"),
        ([OutgoingMessage(b"x", "a b", "1")], "InvalidParameterValue"),
        ([OutgoingMessage(b"x", "a", "")], "InvalidParameterValue"),
        ([OutgoingMessage(b"x", "a" * 129, "1")], "InvalidParameterValue"),
        ([OutgoingMessage(b"x", "ä", "1")], "InvalidParameterValue"),
    ],
    ids=["empty", "eleven", "too-long", "space", "no-dedup-id", "129-characters", "not-ascii"],
)
async def test_send_that_sqs_would_refuse_is_refused(
    broker: EmbeddedBroker, outgoing: list[OutgoingMessage], code: str
) -> None:
    """API_SendMessageBatch: nothing of such a batch is sent."""
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    with pytest.raises(BackendRejectedError) as refused:
        await queue.send(outgoing)
    assert refused.value.code == code
    assert (await queue.counts()).total == 0


@pytest.mark.parametrize(("limit", "seconds"), [(0, 30), (11, 30), (1, -1), (1, 43_201)])
async def test_receive_beyond_the_limits_is_refused(broker: EmbeddedBroker, limit: int, seconds: int) -> None:
    """API_ReceiveMessage: 1 to 10 messages, 0 to 43,200 seconds."""
    queue = broker.queue(await broker.create_queue("q.fifo", FIFO))
    with pytest.raises(BackendRejectedError) as refused:
        await queue.receive(max_messages=limit, wait_seconds=0, visibility_seconds=seconds, attempt_id="")
    assert refused.value.code == "InvalidParameterValue"
