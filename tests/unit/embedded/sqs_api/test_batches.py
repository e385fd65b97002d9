"""Batches: errors of the whole batch and of single entries."""

from typing import Any

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import MAX_BATCH_BYTES, Failed
from chaski_embedded.sqs_api.batches import (
    batch_json,
    check_batch_size,
    check_fifo_batch,
    each_entry,
    read_entries,
)
from chaski_embedded.sqs_api.messages import read_submission


def _entries(*ids: str) -> dict[str, Any]:
    return {"Entries": [{"Id": name} for name in ids]}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({}, "EmptyBatchRequest", id="no entries"),
        pytest.param({"Entries": []}, "EmptyBatchRequest", id="empty list"),
        pytest.param(_entries(*map(str, range(11))), "TooManyEntriesInBatchRequest", id="eleven"),
        pytest.param(_entries("a", "b", "a"), "BatchEntryIdsNotDistinct", id="an id twice"),
        pytest.param(_entries(""), "InvalidBatchEntryId", id="empty id"),
        pytest.param(_entries("a:b"), "InvalidBatchEntryId", id="colon in an id"),
        pytest.param(_entries("é"), "InvalidBatchEntryId", id="letter outside ASCII"),
        pytest.param(_entries("a" * 81), "InvalidBatchEntryId", id="81 characters"),
        pytest.param({"Entries": [{}]}, "InvalidBatchEntryId", id="no id"),
    ],
)
def test_a_batch_with_bad_entries_is_refused_as_a_whole(fields: dict[str, Any], code: str) -> None:
    """None of these reaches the queue."""
    with pytest.raises(BackendRejectedError) as caught:
        read_entries(fields)
    assert caught.value.code == code


def test_entries_keep_their_order() -> None:
    """A FIFO batch is sent in its order; ten entries and ids of 80 characters are allowed."""
    ids = ["z", "a", "A-_9", "x" * 80, *map(str, range(6))]
    assert list(read_entries(_entries(*ids))) == ids


@pytest.mark.parametrize("lost", ["MessageGroupId", "MessageDeduplicationId"])
def test_a_missing_key_fails_the_whole_batch(lost: str) -> None:
    """As on AWS, with InvalidParameterValue for either."""
    good = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    bad = {name: value for name, value in good.items() if name != lost}
    with pytest.raises(BackendRejectedError) as caught:
        check_fifo_batch([good, bad], content_based=False)
    assert caught.value.code == "InvalidParameterValue"
    check_fifo_batch([good, {"MessageGroupId": "g"}], content_based=True)


def test_one_invalid_entry_does_not_fail_the_others() -> None:
    """A character that SQS does not accept fails its own entry only."""
    entries = [
        {"MessageBody": body, "MessageGroupId": "g", "MessageDeduplicationId": body} for body in ("a", "\x01", "c")
    ]
    read = each_entry(entries, lambda entry: read_submission(entry, content_based=True))
    first, second, third = each_entry(read, lambda submission: submission)  # a second pass keeps the failure
    assert isinstance(second, Failed)
    assert (second.code, second.sender_fault) == ("InvalidMessageContents", True)
    assert not isinstance(first, Failed)
    assert not isinstance(third, Failed)


@pytest.mark.parametrize(("surplus", "fits"), [(0, True), (1, False)])
def test_the_messages_of_a_batch_share_one_mebibyte(surplus: int, fits: bool) -> None:
    """Exactly 1 MiB passes, one byte more fails the whole batch."""
    sizes = (MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 2 + surplus)
    submissions = [read_submission({"MessageBody": "a" * size, "MessageGroupId": "g"}, True) for size in sizes]
    if fits:
        check_batch_size(submissions)
    else:
        with pytest.raises(BackendRejectedError, match="1048577 bytes") as caught:
            check_batch_size(submissions)
        assert caught.value.code == "BatchRequestTooLong"


def test_results_are_listed_by_entry() -> None:
    """Successes and failures in one response, each with its entry's id."""
    answer = batch_json({"a": {"MessageId": "1"}, "b": Failed("InternalError", "why", sender_fault=False)})
    assert answer == {
        "Successful": [{"Id": "a", "MessageId": "1"}],
        "Failed": [{"Id": "b", "SenderFault": False, "Code": "InternalError", "Message": "why"}],
    }
