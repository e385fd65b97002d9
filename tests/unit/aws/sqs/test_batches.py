"""Entries and results of batch calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.sqs.batches import NOT_ANSWERED, entries, failures, results, split_by_size
from chaski_core.ports import MAX_BATCH_BYTES, Failed, OutgoingMessage


def message(size: int, group: str = "g") -> OutgoingMessage:
    """A message with a body of `size` bytes."""
    return OutgoingMessage(b"x" * size, group, "d")


def test_entries_are_named_by_their_index() -> None:
    """Equal values get different Ids."""
    assert entries([{"ReceiptHandle": "h"}] * 2) == [
        {"Id": "0", "ReceiptHandle": "h"},
        {"Id": "1", "ReceiptHandle": "h"},
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"Successful": [{"Id": "1"}, {"Id": "0"}]}, [{"Id": "0"}, {"Id": "1"}]),
        ({"Successful": [{"Id": "1"}], "Failed": []}, [NOT_ANSWERED, {"Id": "1"}]),
        ({}, [NOT_ANSWERED, NOT_ANSWERED]),
        ({"Successful": None, "Failed": None}, [NOT_ANSWERED, NOT_ANSWERED]),
        (
            {
                "Failed": [
                    {"Id": "0", "Code": "AWS.SimpleQueueService.NonExistentQueue", "SenderFault": True},
                    {"Id": "1"},
                ]
            },
            [Failed("QueueDoesNotExist", "", sender_fault=True), Failed("Unknown", "", sender_fault=False)],
        ),
    ],
    ids=["out of order", "one missing", "empty", "nulls", "failed"],
)
def test_results_are_in_the_order_of_the_entries(answer: dict[str, object], expected: list[object]) -> None:
    """An entry missing in the response counts as failed."""
    assert results(answer, 2) == expected


def test_failures_are_none_for_success() -> None:
    """One value per entry."""
    assert failures({"Successful": [{"Id": "0"}]}, 2) == [None, NOT_ANSWERED]


@given(st.lists(st.integers(0, MAX_BATCH_BYTES + 1), max_size=10))
def test_runs_keep_order_and_limit(sizes: list[int]) -> None:
    """Nothing is lost or reordered; only a single message that is too large exceeds the limit, alone."""
    messages = [message(size) for size in sizes]
    runs = list(split_by_size(messages))
    assert [each for run in runs for each in run] == messages
    for run in runs:
        assert len(run) == 1 or sum(len(each.body) for each in run) <= MAX_BATCH_BYTES


def test_runs_are_as_long_as_the_limit_allows() -> None:
    """Four of 300 KiB: three and one; an empty batch is still one call, which SQS refuses."""
    assert [len(run) for run in split_by_size([message(307_200)] * 4)] == [3, 1]
    assert [len(run) for run in split_by_size([])] == [0]
