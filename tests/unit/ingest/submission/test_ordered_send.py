import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_ingest.settings import SendingSettings
from chaski_ingest.submission.ordered_send import BlockedByEarlierLine, Line, OrderedSend
from chaski_ingest.submission.queue_batching import Batcher, NotSent
from unit.ingest.fakes import Answer, FakeBackend, FakeQueue, accept, subject_of

pytestmark = pytest.mark.looptime


def lines(subjects: Sequence[str]) -> list[Line]:
    """Lines of these subjects, numbered from 1."""
    return [
        Line(n, "queue", OutgoingMessage(b'{"subject":"%s","n":%d}' % (subject.encode(), n), subject, f"{n}"))
        for n, subject in enumerate(subjects, 1)
    ]


async def send(
    queue: FakeQueue, subjects: Sequence[str], expired: Callable[[], bool] = lambda: False
) -> dict[int, object]:
    """Sends a batch of lines to a queue."""
    batcher = Batcher(FakeBackend(lambda _: queue), SendingSettings(), lambda _: None)  # type: ignore[arg-type]  # the fake has what a batcher uses
    sending = OrderedSend(batcher, lines(subjects), expired)
    await sending.run(workers=100)
    return dict(sending.results)


def failing(*numbers: int) -> Answer:
    """A queue that fails the lines of these numbers and takes every other."""

    def answer(_: int, message: OutgoingMessage) -> Sent | Failed:
        if int(message.deduplication_id) in numbers:
            return Failed("InternalError", "not now", sender_fault=False)
        return Sent("id", 1)

    return answer


@pytest.mark.promise(3)
async def test_a_queue_that_can_fail_single_entries_gets_one_line_of_a_subject_at_a_time() -> None:
    """The next one goes only after the acknowledgement; subjects go side by side."""
    queue = FakeQueue(delay=1)
    results = await send(queue, ["a", "b", "a", "c", "a"])
    assert all(isinstance(result, Sent) for result in results.values())
    assert queue.subjects == [["a", "b", "c"], ["a"], ["a"]]
    assert [message.deduplication_id for message in queue.taken if subject_of(message) == "a"] == ["1", "3", "5"]


@pytest.mark.promise(3)
async def test_a_queue_that_takes_batches_as_a_whole_gets_ten_lines_of_a_subject_in_one_call() -> None:
    """In their order."""
    queue = FakeQueue(delay=1, atomic_batches=True)
    await send(queue, ["a"] * 25)
    assert [len(call) for call in queue.calls] == [10, 10, 5]
    assert [message.deduplication_id for message in queue.taken] == [str(n) for n in range(1, 26)]


@pytest.mark.promise(3)
async def test_after_a_failure_no_later_line_of_that_subject_is_sent() -> None:
    """Nor is the failed one sent again; other subjects go on."""
    queue = FakeQueue(answer=failing(3))
    results = await send(queue, ["a", "b", "a", "a", "b", "a"])
    assert isinstance(results[3], NotSent)
    assert results[4] == results[6] == BlockedByEarlierLine(3)
    assert all(isinstance(results[n], Sent) for n in (1, 2, 5))
    assert sorted(message.deduplication_id for call in queue.calls for message in call) == ["1", "2", "3", "5"]


@pytest.mark.promise(3)
async def test_a_failed_atomic_batch_holds_back_the_rest_of_its_subject() -> None:
    """All of its lines were not sent; those after it were never tried."""
    queue = FakeQueue(atomic_batches=True, answer=failing(*range(1, 11)))
    results = await send(queue, ["a"] * 12)
    assert all(isinstance(results[n], NotSent) for n in range(1, 11))
    assert results[11] == results[12] == BlockedByEarlierLine(1)
    assert len(queue.calls) == 1


async def test_lines_whose_turn_comes_too_late_are_not_sent() -> None:
    """The answer has to reach the producer while it still waits."""
    loop = asyncio.get_running_loop()
    queue = FakeQueue(delay=1)
    results = await send(queue, ["a"] * 5, expired=lambda: loop.time() > 1.5)
    assert [isinstance(results[n], Sent) for n in range(1, 6)] == [True, True, False, False, False]
    assert len(queue.calls) == 2


@pytest.mark.promise(3)
@pytest.mark.parametrize("atomic", [False, True], ids=["sqs", "atomic"])
@pytest.mark.parametrize("seed", range(20))
async def test_what_is_taken_of_a_subject_is_a_beginning_of_its_lines_in_order(atomic: bool, seed: int) -> None:
    """Whatever fails at random, a line is on the queue only if every earlier one of its subject is."""
    chance = random.Random(seed)

    def answer(number: int, message: OutgoingMessage) -> Sent | Failed:
        failed = random.Random(f"{seed}-{number}").random() < 0.1 if atomic else chance.random() < 0.05
        return Failed("InternalError", "", sender_fault=False) if failed else accept(number, message)

    subjects = [f"s{int(chance.paretovariate(1)) % 12}" for _ in range(300)]
    queue = FakeQueue(delay=0.01, atomic_batches=atomic, answer=answer)
    results = await send(queue, subjects)
    assert set(results) == set(range(1, 301))
    for subject in set(subjects):
        numbers = [n for n, each in enumerate(subjects, 1) if each == subject]
        taken = [int(message.deduplication_id) for message in queue.taken if subject_of(message) == subject]
        assert taken == numbers[: len(taken)]
        assert taken == [n for n in numbers if isinstance(results[n], Sent)]
