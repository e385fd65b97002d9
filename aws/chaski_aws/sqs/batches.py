"""Batch calls: entries under their index as Id, and what became of each. Pure.

The index, never a MessageId or handle: those may repeat within a batch, and equal Ids refuse the whole call.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaski_aws.http.endpoints import sqs_code
from chaski_core.ports import Failed, OutgoingMessage

MAX_BATCH_BYTES = 1_048_576  # API_SendMessageBatch: the sum of all messages
NOT_ANSWERED = Failed("NotAnswered", "the service's answer does not mention this entry", sender_fault=False)
NOT_SENT = Failed("NotSent", "an earlier message of the same group was not taken", sender_fault=False)


def entries(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `Entries` of a batch call."""
    return [{"Id": str(index), **value} for index, value in enumerate(values)]


def results(answer: Mapping[str, Any], count: int) -> list[Mapping[str, Any] | Failed]:
    """What became of each entry, in their order; what the answer leaves out counts as failed, and may yet be done."""
    by_id: dict[str, Mapping[str, Any] | Failed] = {each["Id"]: each for each in answer.get("Successful") or ()}
    for each in answer.get("Failed") or ():
        by_id[each["Id"]] = Failed(
            sqs_code(each.get("Code") or "Unknown"), each.get("Message") or "", bool(each.get("SenderFault"))
        )
    return [by_id.get(str(index), NOT_ANSWERED) for index in range(count)]


def failures(answer: Mapping[str, Any], count: int) -> list[Failed | None]:
    """As `results`, where success has nothing more to say."""
    return [result if isinstance(result, Failed) else None for result in results(answer, count)]


def split_by_size(messages: Sequence[OutgoingMessage]) -> Iterator[Sequence[OutgoingMessage]]:
    """Runs of messages, in order, each at most 1 MiB; a single larger message is a run of its own, to be refused."""
    start = size = 0
    for index, message in enumerate(messages):
        if index > start and size + len(message.body) > MAX_BATCH_BYTES:
            yield messages[start:index]
            start, size = index, 0
        size += len(message.body)
    yield messages[start:]
