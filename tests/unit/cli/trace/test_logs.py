"""Traces built from log lines and dead letters."""

from dataclasses import replace
from pathlib import Path

import pytest

from chaski_cli.trace.logs import build_trace, build_traces, read_attempts, traces_from_logs
from chaski_core import json_codec
from chaski_core.dead_letter import ReplayMark
from chaski_core.retry.ladder import ErrorNote
from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_embedded.storage.reader import State
from chaski_replay.backends import BackendLocation
from chaski_runtime.process.command_error import CommandError
from chaski_worker.observability.reporting import AttemptReport, attempt_fields
from support.dead_letters.builder import a_dead_letter

NOON = 1_800_000_000_000


def line(number: int, status: int, at: int, message_id: str = "m1", label: str = "order-1") -> bytes:
    """The log line of one attempt."""
    failed = ErrorClass.SERVER_ERROR if status == 500 else None
    outcome = Outcome(failed, status=status, duration_seconds=0.25, detail=f"HTTP {status}", target="t")
    stage = "first" if number == 1 else "retry"
    attempt = AttemptReport(
        "ns", "r", "messages", stage, number, at, message_id, label, "s", "POST", "https://t.example/", outcome
    )
    return json_codec.dumps(attempt_fields(attempt, at + 250))


DEAD_LETTER = a_dead_letter(
    "m1",
    id="order-1",
    dead_lettered_at=NOON + 3_000,
    error_class="500",
    url="https://t.example/",
    attempts=2,
    errors=(ErrorNote("500", NOON, "HTTP 500", ""), ErrorNote("timeout", NOON + 2_000, "no answer", "")),
    envelope={},
)


def test_attempts_are_found_among_other_lines() -> None:
    """In order of time; other messages, surrounding text, cut lines and other events are skipped."""
    lines = [
        b"2027-01-15T08:00:01Z stdout F " + line(2, 200, NOON + 5_000),
        line(1, 500, NOON),
        line(1, 200, NOON, "m12"),
        b'{"message":"m1 was here"}',
        b'{"chaski.message.id":"m1"',
        b"m1",
        b"",
    ]
    first, second = read_attempts(lines, {"m1"})
    assert (first.number, first.at, first.outcome, first.error_class, first.status) == (1, NOON, "failed", "500", 500)
    assert (second.number, second.stage, second.outcome, second.error_class) == (2, "retry", "delivered", "")
    assert second.duration_ms == pytest.approx(250)


def test_attempts_without_a_line_are_added_from_the_dead_letter() -> None:
    """With their errors; an attempt that both record is listed once."""
    trace = build_trace("m1", read_attempts([line(1, 500, NOON)], {"m1"}), [DEAD_LETTER])
    assert trace is not None
    assert trace.state is State.DEAD_LETTERED
    assert [(each.number, each.error_class, each.status) for each in trace.attempts] == [
        (1, "500", 500),
        (2, "timeout", None),
    ]
    alone = build_trace("m1", [], [DEAD_LETTER])
    assert alone is not None
    assert [each.stage for each in alone.attempts] == ["first", "retry"]


def test_the_state_follows_the_latest_record() -> None:
    """Delivered after a replay, pending while it is replayed, None without any record."""
    again = replace(DEAD_LETTER, replay=ReplayMark("run", 1, NOON + 10_000))
    pending = build_trace("m1", [], [again])
    delivered = build_trace("m1", read_attempts([line(1, 200, NOON + 11_000)], {"m1"}), [again])
    failing = build_trace("m1", read_attempts([line(1, 500, NOON)], {"m1"}), [])
    assert pending is not None
    assert pending.state is State.PENDING
    assert delivered is not None
    assert delivered.state is State.DELIVERED
    assert failing is not None
    assert failing.state is State.PENDING
    assert build_trace("m1", [], []) is None


def test_logs_alone_are_enough(tmp_path: Path) -> None:
    """A file of lines without a route; a missing file is a CommandError."""
    file = tmp_path / "worker.log"
    file.write_bytes(line(1, 200, NOON) + b"\n")
    for message_id in ("m1", "order-1"):
        (trace,) = traces_from_logs(BackendLocation(tmp_path), str(file), message_id)
        assert (trace.message_id, trace.id, trace.state) == ("m1", "order-1", State.DELIVERED)
    with pytest.raises(CommandError, match="No such file"):
        traces_from_logs(BackendLocation(tmp_path), str(tmp_path / "none"), "m1")


@pytest.mark.promise(13)
def test_messages_that_share_a_label_have_separate_traces() -> None:
    """Each with its own attempts; a replay has its own trace, also before its first attempt."""
    lines = [line(1, 500, NOON), line(1, 200, NOON + 1, "m2"), line(1, 200, NOON + 20_000, "m3")]
    entries = read_attempts(lines, {"order-1"})
    replayed = replace(DEAD_LETTER, replay=ReplayMark("run", 1, NOON + 10_000, "m3"))
    found = build_traces(entries, [replayed])
    assert [(each.message_id, each.state, each.replay_of, len(each.attempts)) for each in found] == [
        ("m1", State.DEAD_LETTERED, None, 2),
        ("m2", State.DELIVERED, None, 1),
        ("m3", State.DELIVERED, "m1", 1),
    ]
    pending = build_traces([], [replayed])[-1]
    assert (pending.message_id, pending.id, pending.state, pending.replay_of) == ("m3", "order-1", State.PENDING, "m1")


def test_lines_of_a_release_without_identities_have_one_id() -> None:
    """It is used as identity and label."""
    old = json_codec.loads(line(1, 200, NOON, "order-1"))
    del old["chaski.id"]
    (entry,) = read_attempts([json_codec.dumps(old)], {"order-1"})
    assert (entry.message_id, entry.id) == ("order-1", "order-1")
