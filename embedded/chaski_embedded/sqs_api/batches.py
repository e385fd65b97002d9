"""Batch requests: errors of a whole batch, and results of its entries.

Rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, Failed
from chaski_embedded.sqs_api.errors import invalid_parameter
from chaski_embedded.sqs_api.fields import Fields, read_object_list, read_text
from chaski_embedded.sqs_api.messages import Submission

Entry = TypeVar("Entry")
Item = TypeVar("Item")
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


def read_entries(fields: Fields) -> dict[str, Fields]:
    """The entries of a batch by their ids, in order.

    Raises:
        BackendRejectedError: EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId or
            BatchEntryIdsNotDistinct; each fails the whole batch.
    """
    entries = read_object_list(fields, "Entries")
    if not entries:
        raise BackendRejectedError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > MAX_BATCH_ENTRIES:
        reason = f"Maximum number of entries per request are {MAX_BATCH_ENTRIES}. You have sent {len(entries)}."
        raise BackendRejectedError("TooManyEntriesInBatchRequest", reason)
    by_id: dict[str, Fields] = {}
    for entry in entries:
        name = read_text(entry, "Id") or ""
        if not _ID.match(name):
            raise BackendRejectedError(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long.",
            )
        if name in by_id:
            raise BackendRejectedError("BatchEntryIdsNotDistinct", f"Id {name} repeated.")
        by_id[name] = entry
    return by_id


def check_fifo_batch(entries: Iterable[Fields], content_based: bool) -> None:
    """Refuses a whole batch if one message lacks its group or deduplication id, as AWS does.

    Raises:
        BackendRejectedError: InvalidParameterValue.
    """
    for entry in entries:
        if not content_based and not read_text(entry, "MessageDeduplicationId"):
            raise invalid_parameter(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
            )
        if not read_text(entry, "MessageGroupId"):
            raise invalid_parameter("The request must contain the parameter MessageGroupId.")


def check_batch_size(entries: Sequence[Submission | Failed]) -> None:
    """Refuses a batch whose messages are larger than 1 MiB in total.

    Raises:
        BackendRejectedError: BatchRequestTooLong.
    """
    size = sum(entry.size for entry in entries if isinstance(entry, Submission))
    if size > MAX_BATCH_BYTES:
        reason = f"Batch requests cannot be longer than {MAX_BATCH_BYTES} bytes. You have sent {size} bytes."
        raise BackendRejectedError("BatchRequestTooLong", reason)


def each_entry(entries: Iterable[Item | Failed], read: Callable[[Item], Entry]) -> list[Entry | Failed]:
    """Reads or checks entries one by one; an invalid one becomes a `Failed` and does not affect the others."""
    results: list[Entry | Failed] = []
    for entry in entries:
        try:
            results.append(entry if isinstance(entry, Failed) else read(entry))
        except BackendRejectedError as error:
            results.append(Failed(error.code, error.reason, sender_fault=True))
    return results


def batch_json(results: dict[str, dict[str, str] | Failed]) -> dict[str, Any]:
    """The response to a batch: successful and failed entries by id; AWS omits an empty list."""
    document: dict[str, Any] = {}
    for name, result in results.items():
        if isinstance(result, Failed):
            failure = {"Id": name, "SenderFault": result.sender_fault, "Code": result.code, "Message": result.reason}
            document.setdefault("Failed", []).append(failure)
        else:
            document.setdefault("Successful", []).append({"Id": name, **result})
    return document
