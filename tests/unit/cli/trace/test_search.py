"""Messages found in log lines by subject and text."""

import orjson
import pytest

from chaski_cli.trace import search
from chaski_cli.trace.search import MessageQuery, found_in_logs
from chaski_core.retry.outcome import Outcome
from chaski_worker.observability.reporting import AttemptReport, attempt_fields


def line(message_id: str, subject: str = "s", content: str = "", at: int = 1_800_000_000_000) -> bytes:
    """A worker's log line of a first attempt."""
    outcome = Outcome(None, status=200, duration_seconds=0.1, target="t")
    attempt = AttemptReport(
        "ns", "r", "q", "first", 1, 0, message_id, "label", subject, "POST", "https://t/", outcome, content=content
    )
    return b"2027-01-15T08:00:01Z stdout F " + orjson.dumps(attempt_fields(attempt, at)) + b"\n"


LINES = [
    line("a", "order-1", "about a Llama"),
    line("b", "order-2", "about an Alpaca"),
    line("a", "order-1", "about a Llama", at=1_799_999_990_000),
    line("c", "order-1"),
    b'{"chaski.message.id": "a", "half',
    b'["chaski.message.id"]\n',
    b"not JSON\n",
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (MessageQuery(subject="order-1"), {"a": 2, "c": 1}),
        (MessageQuery(text="llama"), {"a": 2}),
        (MessageQuery(subject="order-2", text="llama"), {}),
        (MessageQuery(subject="order", text=None), {}),
        (MessageQuery(text="about"), {"a": 2, "b": 1}),
    ],
    ids=str,
)
def test_lines_are_found_by_exact_subject_and_by_text_in_any_case(query: MessageQuery, found: dict[str, int]) -> None:
    """Both must match if both are given; other lines are skipped."""
    entries = found_in_logs(LINES, query, ())
    assert {message_id: len(each) for message_id, each in entries.items()} == found


def test_attempts_of_given_ids_are_included_oldest_first() -> None:
    """A dead letter is found in the table by its content, which its lines may not have."""
    entries = found_in_logs(LINES, MessageQuery(text="nowhere"), ["a"])
    assert list(entries) == ["a"]
    assert [entry.at for entry in entries["a"]] == sorted(entry.at for entry in entries["a"])


def test_a_log_of_any_size_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of kept messages is limited."""
    monkeypatch.setattr(search, "MAX_MESSAGES", 10)
    assert len(found_in_logs((line(f"m{n}") for n in range(1_000)), MessageQuery(subject="s"), ())) <= 21
