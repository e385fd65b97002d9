"""Messages looked for in log lines by subject and text."""

import orjson
import pytest

from chaski_cli.trace import search
from chaski_cli.trace.search import Sought, found_in_logs
from chaski_core.retry.outcome import Outcome
from chaski_runtime.observability.log_fields import Attempt, attempt_fields


def line(message_id: str, subject: str = "s", content: str = "", at: int = 1_800_000_000_000) -> bytes:
    """A worker's log line of a first attempt."""
    outcome = Outcome(None, status=200, duration_seconds=0.1, target="t")
    attempt = Attempt(
        "ns", "r", "q", "first", 1, message_id, "label", subject, "POST", "https://t/", outcome, content=content
    )
    return b"2027-01-15T08:00:01Z stdout F " + orjson.dumps(attempt_fields(attempt, at)) + b"\n"


LINES = [
    line("a", "order-1", "about a Llama"),
    line("b", "order-2", "about an Alpaca"),
    line("a", "order-1", "about a Llama", at=1_799_999_990_000),
    line("c", "order-1"),
    b'{"chaski.message.id": "a", "half',
    b'["chaski.message.id"]\n',
    b"no JSON\n",
]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        (Sought(subject="order-1"), {"a": 2, "c": 1}),
        (Sought(text="llama"), {"a": 2}),
        (Sought(subject="order-2", text="llama"), {}),
        (Sought(subject="order", text=None), {}),
        (Sought(text="about"), {"a": 2, "b": 1}),
    ],
    ids=str,
)
def test_lines_are_found_by_exact_subject_and_by_text_in_any_case(sought: Sought, found: dict[str, int]) -> None:
    """Both together where both are given; what is no line of an attempt is passed over."""
    entries = found_in_logs(LINES, sought, ())
    assert {message_id: len(each) for message_id, each in entries.items()} == found


def test_attempts_of_what_was_found_elsewhere_come_with_it_oldest_first() -> None:
    """A dead letter is found by its content in the table, where its lines hold none."""
    entries = found_in_logs(LINES, Sought(text="nowhere"), ["a"])
    assert list(entries) == ["a"]
    assert [entry.at for entry in entries["a"]] == sorted(entry.at for entry in entries["a"])


def test_a_log_of_any_size_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more messages than are shown, no more are kept."""
    monkeypatch.setattr(search, "MOST", 10)
    assert len(found_in_logs((line(f"m{n}") for n in range(1_000)), Sought(subject="s"), ())) <= 21
