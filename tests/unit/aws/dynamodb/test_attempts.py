"""Items of attempt records: lossless reading, sizes, and records of the release before."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_aws.dynamodb.items import MAX_ITEM_BYTES, item_bytes
from chaski_aws.dynamodb.records.attempts import Moved, lacks_errors, read_record, record_items
from chaski_core import json_codec
from chaski_core.ports import AttemptRecord, HiddenHead
from chaski_core.retry.ladder import ErrorNote, LadderState, note_values

NOON = 1_800_000_000_000
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.integers(0, 3_000).map(lambda length: "é" * length)
HEAD = HiddenHead(
    "ns/route", "customer-17", f"https://sqs.eu-central-1.amazonaws.com/{'1' * 12}/{'q' * 80}", "h" * 412, 9
)


def climb(texts: list[str]) -> list[AttemptRecord]:
    """The records after each failure of a message, with one answer each."""
    notes = [ErrorNote("503", NOON + 1_000 * at, "HTTP 503", text) for at, text in enumerate(texts)]
    return [
        AttemptRecord(LadderState("5xx", count - 1, tuple(notes[:count])), NOON, receives=count, head=HEAD)
        for count in range(1, len(notes) + 1)
    ]


class Table:
    """The items of one message."""

    def __init__(self) -> None:
        self.moved: dict[str, Any] = {}
        self.record: dict[str, Any] = {}

    def write(self, record: AttemptRecord, known: Moved) -> Moved:
        """Writes as the store does."""
        items = record_items("m", record, known, NOON)
        self.moved |= {item["sk"]["S"]: item for item in items.moved}
        self.record = items.record
        return items.known

    def read(self) -> AttemptRecord:
        """Reads as the store does."""
        return read_record(
            self.record, [self.moved[name] for name in sorted(self.moved)] if lacks_errors(self.record) else []
        )


@given(st.lists(TEXTS, min_size=1, max_size=12), st.data())
def test_every_record_of_a_climb_is_read_back_unchanged(texts: list[str], data: st.DataObject) -> None:
    """Also where the process does not know what was moved, so that errors are moved again."""
    table, known = Table(), Moved(0)
    for record in climb(texts):
        known = table.write(record, data.draw(st.sampled_from([known, Moved(0)])))
        assert table.read() == record
        assert item_bytes(table.record) <= 2_048


@pytest.mark.promise(4)
def test_a_failure_whose_record_was_not_stored_leaves_no_error() -> None:
    """A crash between the moved errors and the record: the attempt is repeated, and its error takes the place of the first."""
    records = climb(["a" * 1_500, "b" * 1_500, "c" * 1_500])
    table = Table()
    known = table.write(records[0], Moved(0))
    lost = record_items("m", records[1], known, NOON)
    table.moved |= {item["sk"]["S"]: item for item in lost.moved}
    assert table.read() == records[0]
    other = replace(records[1].state.errors[1], at=NOON + 5, excerpt="other" * 300)
    repeated = replace(records[1], state=replace(records[1].state, errors=(records[0].state.errors[0], other)))
    table.write(repeated, known)
    assert table.read() == repeated


@pytest.mark.promise(5)
def test_a_record_of_the_release_before_is_read() -> None:
    """It kept all errors in the item, also after a record of this release, of which it knows the last error only."""
    record = climb(["busy"] * 3)[-1]
    items = record_items("m", record, Moved(0), NOON)
    assert not items.moved
    assert "moved" not in items.record  # the same form
    assert not lacks_errors(items.record)
    table = Table()
    climbed = climb(["x" * 1_500] * 3)[-1]
    table.write(climbed, Moved(0))
    known_before = read_record(table.record)  # as the release before reads it
    assert (known_before.state.key, known_before.state.retries) == ("5xx", 2)
    assert known_before.state.errors[-1].at == climbed.state.errors[-1].at  # it bounds the wait by this
    added = ErrorNote("503", NOON + 9_000, "HTTP 503", "later")
    errors = json_codec.dumps(note_values((*known_before.state.errors, added))).decode()
    plain = {name: value for name, value in table.record.items() if name not in {"moved", "pending"}}
    table.record = plain | {"errors": {"S": errors}, "retries": {"N": "3"}}
    assert table.read().state == LadderState("5xx", 3, (*climbed.state.errors, added))


@given(st.lists(st.sampled_from([0, 1_000, 60_000, 500_000]), min_size=1, max_size=20))
def test_no_item_exceeds_dynamodbs_limit(lengths: list[int]) -> None:
    """For any length of texts, which are shortened above 50,000 characters."""
    items = record_items("m", climb(["é" * length for length in lengths])[-1], Moved(0), NOON)
    assert all(item_bytes(item) < MAX_ITEM_BYTES for item in (*items.moved, items.record))
    excerpts = [len(note.excerpt) for note in read_record(items.record, items.moved).state.errors]
    assert excerpts == [min(length, 50_000) for length in lengths]
