"""Entries and results of SQS batch calls. Pure.

The Id of an entry is its index, never a MessageId or handle: those may repeat within a batch, and SQS refuses a whole
call with equal Ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaski_aws.http.endpoints import sqs_code
from chaski_core.ports import MAX_BATCH_BYTES, Failed, OutgoingMessage

NOT_ANSWERED = Failed("NotAnswered", "the service's response does not contain this entry", sender_fault=False)
NOT_SENT = Failed("NotSent", "an earlier message of the same group was not accepted", sender_fault=False)


def entries(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `Entries` of a batch call."""
    return [{"Id": str(index), **value} for index, value in enumerate(values)]


def results(response: Mapping[str, Any], count: int) -> list[Mapping[str, Any] | Failed]:
    """The result of each entry, in order; an entry missing in the response counts as failed, and may have been applied."""
    by_id: dict[str, Mapping[str, Any] | Failed] = {each["Id"]: each for each in response.get("Successful") or ()}
    for each in response.get("Failed") or ():
        by_id[each["Id"]] = Failed(
            sqs_code(each.get("Code") or "Unknown"), each.get("Message") or "", bool(each.get("SenderFault"))
        )
    return [by_id.get(str(index), NOT_ANSWERED) for index in range(count)]


def failures(response: Mapping[str, Any], count: int) -> list[Failed | None]:
    """The failure of each entry, in order; None for success."""
    return [result if isinstance(result, Failed) else None for result in results(response, count)]


def split_by_size(messages: Sequence[OutgoingMessage]) -> Iterator[Sequence[OutgoingMessage]]:
    """Splits messages, in order, into runs of at most 1 MiB; a larger message is a run of its own, which SQS refuses."""
    start = size = 0
    for index, message in enumerate(messages):
        if index > start and size + len(message.body) > MAX_BATCH_BYTES:
            yield messages[start:index]
            start, size = index, 0
        size += len(message.body)
    yield messages[start:]
