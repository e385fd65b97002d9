"""The rules of an SQS FIFO queue, one row each.

The mark at the end of an id is the evidence: AWSV was run against AWS and recorded, API and DOC are AWS's reference
and guide, ISS is an issue that reports it of AWS, HERE is our choice where AWS documents nothing.
"""

from importlib import util
from pathlib import Path

import pytest

from chaski_embedded.fifo.model import InFlight, Settings
from chaski_embedded.fifo.queue import FifoQueue
from chaski_embedded.fifo.sequence import first_sequence_at
from support.worker.fifo_script import FifoScript

RULES = {
    "fill-group-first-AWSV": """
        send a1 b1 a2 a3
        take 10 = a1 a2 a3 b1
    """,
    "fill-stops-at-the-limit-within-a-group-API": """
        send a1 a2 a3 b1
        take 2 = a1 a2
        take 10 = b1
    """,
    "groups-that-expired-go-to-the-end-of-the-line-AWSV": """
        send a1 a2 a3 a4 b1 c1
        take 2 1 = a1 a2
        take 1 1 = b1
        wait 2
        take 10 0 = c1 a1 a2 a3 a4 b1
    """,
    "groups-received-with-visibility-0-go-to-the-end-of-the-line-AWSV": """
        send a1 b1 b2 c1 a2
        take 3 0 = a1 a2 b1
        take 10 0 = c1 a1 a2 b1 b2
    """,
    "a-group-given-back-goes-to-the-end-of-the-line-AWSV": """
        send a1 a2 b1
        take 2 = a1 a2
        hide a1 0
        take 3 = b1 a1
    """,
    "a-group-hidden-for-a-second-goes-to-the-end-of-the-line-AWSV": """
        send a1 a2 b1
        take 2 = a1 a2
        hide a1 1
        wait 2
        take 3 = b1 a1
    """,
    "a-delete-leaves-the-group-where-its-next-message-stands-AWSV": """
        send a1 b1 a2 b2 a3 a4 c1
        take 2 = a1 a2
        delete a1
        delete a2
        take 10 = b1 b2 a3 a4 c1
    """,
    "a-partial-delete-leaves-the-line-to-the-others-AWSV": """
        send a1 b1 a2 b2 a3 a4 c1
        take 2 = a1 a2
        delete a1
        take 10 = b1 b2 c1
    """,
    "a-failing-head-starves-no-other-HERE": """
        send a1 b1 c1
        take 1 = a1
        hide a1 0
        take 1 = b1
        hide b1 0
        take 1 = c1
        delete c1
        take 1 = a1
        hide a1 0
        take 1 = b1
    """,
    "a-delayed-message-stands-where-it-became-due-HERE": """
        delay 60
        send a1
        wait 60
        take 1 1 = a1
        send b1
        wait 60
        take 10 = a1 b1
        hide b1 0
        hide a1 0
        take 10 = b1 a1
    """,
    "oldest-group-first-HERE": """
        send b1 a1 a2
        take 1 = b1
        take 10 = a1 a2
    """,
    "group-is-locked-while-one-is-in-flight-AWSV": """
        send a1 a2
        take 1 = a1
        take 10 =
    """,
    "new-send-does-not-unlock-AWSV": """
        send a1
        take 1 = a1
        send a2
        take 10 =
    """,
    "other-groups-go-on-AWSV": """
        send a1 a2 b1
        take 1 = a1
        take 10 = b1
    """,
    "partial-delete-keeps-the-lock-AWSV": """
        send a1 a2 a3 a4
        take 3 = a1 a2 a3
        delete a1
        delete a2
        take 10 =
        delete a3
        take 10 = a4
    """,
    "visibility-0-on-the-head-while-the-second-is-held-gives-the-head-alone-AWSV": """
        send a1 a2 a3
        take 2 = a1 a2
        hide a1 0
        take 10 = a1
        take 10 =
    """,
    "visibility-0-on-a-suffix-while-the-head-is-held-gives-nothing-AWSV": """
        send a1 a2 a3
        take 3 = a1 a2 a3
        hide a2 0
        hide a3 0
        take 10 =
        delete a1
        take 10 = a2 a3
    """,
    "all-expire-but-the-middle-AWSV": """
        send a1 a2 a3
        take 3 = a1 a2 a3
        hide a2 60
        wait 30
        take 10 = a1
    """,
    "all-expire-but-the-head-AWSV": """
        send a1 a2 a3
        take 3 = a1 a2 a3
        hide a1 60
        wait 30
        take 10 =
    """,
    "all-expire-but-the-last-AWSV": """
        send a1 a2 a3
        take 3 = a1 a2 a3
        hide a3 60
        wait 30
        take 10 = a1 a2
    """,
    "order-after-the-batch-expired-AWSV": """
        send a1 a2 a3 a4
        take 3 = a1 a2 a3
        wait 29.999
        take 10 =
        wait 0.001
        take 10 = a1 a2 a3 a4
        receives a1 2
        receives a4 1
    """,
    "crash-after-the-first-was-deleted-AWSV": """
        send a1 a2 a3
        take 3 = a1 a2 a3
        delete a1
        wait 30
        take 10 = a2 a3
    """,
    "expiry-in-one-group-while-another-is-held-AWSV": """
        send a1 b1
        take 1 60 = a1
        take 1 30 = b1
        wait 30
        take 10 = b1
    """,
    "delete-with-an-expired-handle-fails-AWSV": """
        send a1
        take 1 = a1
        wait 30
        delete a1 = expired
        take 1 = a1
        delete a1
        counts 0 0 0
    """,
    "delete-after-giving-back-fails-HERE": """
        send a1
        take 1 = a1
        hide a1 0
        delete a1 = expired
    """,
    "delete-of-a-deleted-message-is-no-failure-ISS": """
        send a1
        take 1 = a1
        delete a1
        delete a1
    """,
    "delete-with-the-handle-of-an-earlier-receive-fails-API": """
        send a1
        take 1 = a1
        wait 30
        take 1 = a1
        delete a1#1 = expired
        delete a1#2
    """,
    "change-with-the-handle-of-an-earlier-receive-fails-API": """
        send a1
        take 1 = a1
        wait 30
        take 1 = a1
        hide a1#1 0 = expired
        take 1 =
    """,
    "change-with-an-expired-handle-fails-API": """
        send a1
        take 1 = a1
        wait 30
        hide a1 60 = expired
    """,
    "change-of-a-deleted-message-fails-API": """
        send a1
        take 1 = a1
        delete a1
        hide a1 60 = deleted
    """,
    "change-counts-from-now-API": """
        send a1
        take 1 = a1
        wait 20
        hide a1 30
        wait 29
        take 1 =
        wait 1
        take 1 = a1
    """,
    "change-can-shorten-API": """
        send a1
        take 1 600 = a1
        hide a1 5
        wait 5
        take 1 = a1
    """,
    "twelve-hours-in-all-API": """
        send a1
        take 1 = a1
        hide a1 43200
        wait 1
        hide a1 43200 = too-long
        hide a1 43199
        wait 43198
        hide a1 1
        hide a1 2 = too-long
        wait 1
        take 1 = a1
        hide a1 43200
    """,
    "a-refused-change-leaves-the-hold-as-it-was-HERE": """
        send a1
        take 1 60 = a1
        wait 1
        hide a1 43200 = too-long
        wait 58
        take 1 =
        wait 1
        take 1 = a1
    """,
    "receive-with-visibility-0-locks-nothing-API": """
        send a1 a2
        take 10 0 = a1 a2
        take 10 = a1 a2
        receives a1 2
    """,
    "receive-with-visibility-0-returns-each-once-HERE": """
        send a1 b1
        take 10 0 = a1 b1
    """,
    "duplicate-returns-the-original-AWSV": """
        send a1
        send a2~a1 = a1
        counts 1 0 0
    """,
    "duplicate-in-flight-is-dropped-AWSV": """
        send a1
        take 1 = a1
        send a2~a1 = a1
        delete a1
        take 1 =
    """,
    "duplicate-after-the-original-was-deleted-AWSV": """
        send a1
        take 1 = a1
        delete a1
        send a2~a1 = a1
        take 1 =
    """,
    "duplicate-scope-queue-spans-groups-API": """
        send a1
        send b1~a1 = a1
    """,
    "duplicate-window-is-five-minutes-API": """
        send a1
        wait 299.999
        send a2~a1 = a1
        wait 0.001
        send a3~a1 = a3
        take 10 = a1 a3
    """,
    "a-duplicate-does-not-prolong-the-window-API": """
        send a1
        wait 200
        send a2~a1 = a1
        wait 100
        send a3~a1 = a3
    """,
    "delay-hides-new-messages-AWSV": """
        delay 60
        send a1
        counts 0 0 1
        take 1 =
        wait 59.999
        take 1 =
        wait 0.001
        take 1 = a1
    """,
    "delay-keeps-order-AWSV": """
        delay 60
        send a1
        wait 1
        send b1 a2
        wait 59
        take 10 = a1
        wait 1
        take 10 = b1
        delete a1
        take 10 = a2
    """,
    "delayed-messages-do-not-lock-the-group-ISS": """
        send a1
        delay 0
        take 1 = a1
        hide a1 0
        delay 60
        send a2
        take 10 = a1
        delete a1
        take 10 =
    """,
    "longer-delay-holds-for-messages-already-queued-DOC": """
        send a1
        wait 10
        delay 60
        take 1 =
        counts 0 0 1
        wait 50
        take 1 = a1
    """,
    "shorter-delay-holds-for-messages-already-queued-DOC": """
        delay 600
        send a1 a2
        wait 10
        delay 5
        take 10 = a1 a2
    """,
    "longer-delay-leaves-what-was-received-alone-HERE": """
        send a1 a2 a3
        take 1 = a1
        delay 60
        hide a1 0
        counts 1 0 2
        take 10 = a1
        delete a1
        wait 60
        take 10 = a2 a3
    """,
    "blocked-messages-count-as-visible-AWSV": """
        send a1 a2 b1 b2 c1 c2
        take 1 = a1
        take 1 = b1
        counts 4 2 0
    """,
    "receive-count-counts-receives-API": """
        send a1 a2
        take 10 = a1 a2
        hide a2 0
        hide a1 0
        take 1 = a1
        receives a1 2
        receives a2 1
    """,
    "same-attempt-returns-the-same-messages-and-handles-API": """
        send a1 a2 b1
        take 2 30 try1 = a1 a2
        take 2 30 try1 = a1 a2
        receives a1 1
        delete a1#1
        take 10 = b1
    """,
    "same-attempt-holds-anew-API": """
        send a1
        take 1 30 try1 = a1
        wait 20
        take 1 30 try1 = a1
        wait 29
        take 1 =
        wait 1
        take 1 = a1
        receives a1 2
    """,
    "same-attempt-after-five-minutes-is-a-new-one-API": """
        send a1 b1
        take 1 3600 try1 = a1
        wait 300
        take 10 30 try1 = b1
    """,
    "same-attempt-after-a-delete-is-a-new-one-API": """
        send a1 b1 c1
        take 2 30 try1 = a1 b1
        delete b1
        take 10 30 try1 = c1
    """,
    "same-attempt-after-a-change-is-a-new-one-API": """
        send a1 b1 c1
        take 2 30 try1 = a1 b1
        hide a1 60
        take 10 30 try1 = c1
    """,
    "same-attempt-after-expiry-is-a-new-one-API": """
        send a1 b1
        take 1 30 try1 = a1
        wait 30
        take 10 30 try1 = b1 a1
        receives a1 2
    """,
    "an-attempt-that-found-nothing-is-not-kept-HERE": """
        take 1 30 try1 =
        send a1
        take 1 30 try1 = a1
    """,
    "retention-drops-what-waited-too-long-API": """
        keep 60
        send a1
        wait 30
        send a2
        wait 30
        take 10 = a1 a2
        hide a2 0
        hide a1 0
        wait 0.001
        take 10 = a2
    """,
    "retention-drops-a-whole-group-API": """
        keep 60
        send a1 b1
        wait 61
        take 10 =
        counts 0 0 0
    """,
    "in-flight-limit-returns-nothing-API": """
        in-flight 2
        send a1 b1 c1
        take 10 = a1 b1
        take 10 =
        delete a1
        take 10 = c1
    """,
    "groups-beyond-the-scan-window-wait-DOC": """
        window 2
        send a1 a2 a3 b1
        take 1 = a1
        take 10 =
        delete a1
        take 1 = a2
        take 10 =
        delete a2
        take 10 = a3 b1
    """,
}


@pytest.mark.parametrize("script", RULES.values(), ids=RULES.keys())
@pytest.mark.promise(3)
def test_queue_keeps_the_rule(script: str) -> None:
    """Each step of the script has the result that the script expects."""
    FifoScript().run(script)


def test_duplicate_scope_message_group_is_per_group() -> None:
    """With DeduplicationScope messageGroup (API) the same id in another group is another message."""
    FifoScript(dedup_per_group=True).run(
        """
        send a1
        send b1~a1 = b1
        send a2~a1 = a1
        take 10 = a1 b1
        """
    )


def test_first_receive_time_is_constant() -> None:
    """ApproximateFirstReceiveTimestamp (API) is that of the first receive, in every later receive too."""
    queue = FifoQueue(Settings())
    queue.send(first_sequence_at(1_000), "a", "x", 1_000)
    (first,) = queue.receive(1, 0, "", 1_000, wall=77)
    (second,) = queue.receive(1, 0, "", 2_000, wall=88)
    assert (first.first_at, second.first_at, second.receives) == (77, 77, 2)


def test_restored_queue_continues_in_the_same_state() -> None:
    """Messages in flight stay so until their time, received ones keep their count; order and deduplication are the same."""
    now = 1_000_000
    sequences = [first_sequence_at(now) + n for n in range(4)]
    groups = dict(zip(sequences, "aaab", strict=True))
    queue = FifoQueue(Settings(), lambda wanted: map(groups.__getitem__, wanted))
    for sequence, group in groups.items():
        queue.remember(sequence, group, str(sequence))
    queue.restore_received(sequences[0], "a", InFlight("a", 1, 5, now, now + 30_000))
    queue.restore_received(sequences[1], "a", InFlight("a", 3, 5, now, now))
    queue.restore(sequences[2])
    queue.restore(sequences[3])
    assert [each.sequence for each in queue.receive(10, 1_000, "", now, now)] == [sequences[3]]
    assert queue.delete(sequences[0], 1, now) is None
    taken = queue.receive(10, 1_000, "", now, now)
    assert [(each.sequence, each.receives) for each in taken] == [(sequences[1], 4), (sequences[2], 1)]
    assert queue.send(first_sequence_at(now) + 9, "a", str(sequences[2]), now) == sequences[2]


def test_restored_queue_keeps_the_order_of_groups() -> None:
    """After a restart, a message that became visible again is still behind those sent before that."""
    now = 1_000_000
    sequences = [first_sequence_at(now + n * 1_000) for n in range(3)]
    groups = dict(zip(sequences, "abc", strict=True))
    queue = FifoQueue(Settings(), lambda wanted: map(groups.__getitem__, wanted))
    back = InFlight("a", 1, 5, now, now + 1_500)  # visible again after b was sent, and before c
    queue.restore_received(sequences[0], "a", back)
    queue.restore(sequences[1])
    queue.restore(sequences[2])
    taken = [each.group for _ in range(3) for each in queue.receive(1, 30_000, "", now + 5_000, now)]
    assert taken == ["b", "a", "c"]


def test_a_group_that_returned_waits_for_all_that_were_sent_before() -> None:
    """Also for those whose groups are not in memory, of whom there are more than `state._IN_GROUPS`."""
    groups: dict[int, str] = {}
    queue = FifoQueue(Settings(), lambda wanted: map(groups.__getitem__, wanted))
    for n in range(25_000):
        groups[first_sequence_at(n)] = f"g{n}"
        queue.send(first_sequence_at(n), f"g{n}", str(n), n)
    now, served = 40_000, [each.group for each in queue.receive(1, 10_000, "", 40_000, 0)]
    while batch := queue.receive(10, 3_600_000, "", now, 0):
        now += 10
        served += [each.group for each in batch]
    assert served == [*(f"g{n}" for n in range(25_000)), "g0"]


def test_next_event_is_the_earliest_expiry_or_delay() -> None:
    """The time of the next wake-up; None where only a call can make a message deliverable."""
    queue = FifoQueue(Settings(delay_ms=5_000))
    assert queue.next_event(0) is None
    queue.send(first_sequence_at(1_000), "a", "x", 1_000)
    assert queue.next_event(1_000) == 6_000
    queue.receive(1, 30_000, "", 6_000, 0)
    queue.send(first_sequence_at(7_000), "b", "y", 7_000)
    assert queue.next_event(7_000) == 12_000
    assert queue.next_event(12_000) == 36_000
    queue.delete(first_sequence_at(1_000), 1, 12_000)
    assert queue.next_event(12_000) is None


def test_expire_deletes_in_steps_and_spares_messages_in_flight() -> None:
    """It deletes messages that are too old, waiting, delayed or outside the window, and reports whether there are more."""
    queue = FifoQueue(Settings(retention_ms=60_000, scan_window=3))
    for n in range(5):
        queue.send(first_sequence_at(n), "ab"[n % 2], str(n), n)
    (held,) = queue.receive(1, 3_600_000, "", 10, 0)
    assert queue.expire(2, 100_000)
    while queue.expire(2, 100_000):
        pass
    counts = queue.counts(100_000)
    assert (counts.visible, counts.in_flight, counts.delayed) == (0, 1, 0)
    assert len(queue.deleted) == 4
    assert queue.delete(held.sequence, 1, 100_000) is None


@pytest.mark.promise(2)
def test_a_queue_without_retention_deletes_nothing() -> None:
    """Neither by a receive nor by housekeeping, however old a message is."""
    queue, years = FifoQueue(Settings(retention_ms=None)), 100_000_000_000
    queue.send(first_sequence_at(5), "a", "x", 5)
    assert not queue.expire(10, years)
    assert [each.group for each in queue.receive(1, 1_000, "", years, years)] == ["a"]
    assert not queue.expire(10, 2 * years)
    assert (queue.counts(2 * years).total, queue.deleted) == (1, set())


def test_expire_finds_a_message_that_was_in_flight_before() -> None:
    """A message in flight that is too old is deleted once it is visible, even if all waiting ones were younger."""
    queue = FifoQueue(Settings(retention_ms=60_000))
    queue.send(first_sequence_at(0), "a", "old", 0)
    queue.receive(1, 100_000, "", 0, 0)
    queue.send(first_sequence_at(90_000), "b", "young", 90_000)
    assert not queue.expire(10, 90_000)
    assert not queue.expire(10, 110_000)
    assert queue.deleted == {first_sequence_at(0)}
    assert queue.counts(110_000).total == 1


def test_release_all_makes_all_messages_visible_in_order() -> None:
    """The only process on a folder releases the messages in flight of an earlier one."""
    script = FifoScript()
    script.run("send a1 a2 b1 \n take 10 3600 = a1 a2 b1")
    assert script.queue.release_all(script.now) == 3
    script.run("counts 3 0 0 \n take 10 = a1 a2 b1")


def test_the_rules_need_no_clock_and_no_disk() -> None:
    """The package is pure: no module imports a clock or a database."""
    found = util.find_spec("chaski_embedded.fifo.queue")
    assert found is not None
    assert found.origin is not None
    modules = sorted(Path(found.origin).parent.glob("*.py"))
    assert len(modules) > 5
    for module in modules:
        source = module.read_text(encoding="utf-8")
        assert not [name for name in ("time", "sqlite3", "asyncio", "random") if f"import {name}\n" in source]
