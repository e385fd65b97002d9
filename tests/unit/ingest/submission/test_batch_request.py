"""Batch requests: the results of their lines, and the order in which lines are sent."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_ingest.metrics import IngestMetrics
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings, SendingSettings
from chaski_ingest.submission.batch_request import (
    BatchRequest,
    BlockedByEarlierLine,
    Line,
    OrderedSend,
    split_lines,
)
from chaski_ingest.submission.queue_batching import Batcher, NotSent
from chaski_ingest.submission.service import SubmissionService
from chaski_ingest.submission.submission import Origin, RequestContext
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from unit.ingest.fakes import NOW, FakeBackend, FakeQueue, Outcome, accept, resolved, subject_of

pytestmark = pytest.mark.looptime


def line(subject: str, **more: object) -> bytes:
    """One message as a line."""
    return orjson.dumps({"subject": subject, "body": {"url": "https://h/"}, **more})


async def submit(
    body: bytes,
    backend: FakeBackend | None = None,
    metrics: MetricsRegistry | None = None,
    key: str | None = None,
    subjects: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """The results of a batch."""
    settings = IngestSettings()
    counted = IngestMetrics(metrics or MetricsRegistry())
    service = SubmissionService(backend or FakeBackend(), counted, settings, lambda n: b"z" * n, lambda: 0.0)  # type: ignore[arg-type]  # the fake has the methods that ingest calls
    context = RequestContext(
        resolved(), Origin("helpdesk/conversations", NOW, "p", idempotency_key=key, subjects=subjects)
    )
    answer = await BatchRequest(service, context, settings, lambda: False).run(body)
    assert isinstance(answer, bytes)
    assert answer.endswith(b"\n")
    return [orjson.loads(each) for each in answer.splitlines()]


async def test_every_line_gets_a_result_in_order_with_its_place() -> None:
    """The fields are those of a single response, with the line's number and status."""
    backend = FakeBackend()
    results = await submit(line("pc_assignments_1", id="one") + b"\n" + line("x", id="two") + b"\n", backend)
    assert results[0] == {
        "line": 1,
        "status": 202,
        "id": "one",
        "messageId": backend.queues["assignments-0"].taken[0].deduplication_id,
        "subject": "pc_assignments_1",
        "queue": "assignments",
        "partition": 0,
    }
    assert (results[1]["line"], results[1]["queue"]) == (2, "messages")


async def test_an_invalid_line_lists_all_its_errors_and_others_are_accepted() -> None:
    """Each line is validated on its own."""
    results = await submit(b'{"subject": "b", "id": "?"}\n' + line("a") + b"\nnonsense")
    assert [result["status"] for result in results] == [400, 202, 400]
    assert set(results[0]) == {"line", "status", "title", "detail", "errors"}
    assert [error["field"] for error in results[0]["errors"]] == ["id", "body"]


@pytest.mark.promise(14)
async def test_each_line_is_judged_by_its_own_subject() -> None:
    """A producer's denied lines are answered 403 and block no line of another subject."""
    backend = FakeBackend()
    body = b"\n".join([line("a_1"), line("b_1"), line("a_2"), line("b_1"), line("a_1")])
    results = await submit(body, backend, subjects=("a_*",))
    assert [result["status"] for result in results] == [202, 403, 202, 403, 202]
    assert results[1]["title"] == "Subject not allowed"
    taken = [message for queue in backend.queues.values() for message in queue.taken]
    assert sorted(subject_of(message) for message in taken) == ["a_1", "a_1", "a_2"]


async def test_blank_lines_get_no_result_but_count() -> None:
    """So that `line` is the number that an editor shows; lines may end with CRLF or LF."""
    results = await submit(b"\n" + line("a") + b"\r\n \t\r\n" + line("b") + b"\r\n\n")
    assert [result["line"] for result in results] == [2, 4]


@pytest.mark.promise(3)
async def test_an_invalid_line_blocks_the_later_lines_of_its_subject() -> None:
    """A line is accepted only if every earlier line of its subject was."""
    backend = FakeBackend()
    body = b"\n".join([line("a"), line("a", id="not valid!"), line("a"), line("b"), line("a", id="?")])
    results = await submit(body, backend)
    assert [result["status"] for result in results] == [202, 400, 503, 202, 400]
    assert "line 2 " in results[2]["detail"]
    taken = [message for queue in backend.queues.values() for message in queue.taken]
    assert sorted(subject_of(message) for message in taken) == ["a", "b"]


@pytest.mark.promise(3)
@pytest.mark.parametrize("unread", [b"nonsense", b"[]", b'{"subject": 1}', b'{"subject": "", "body": {}}'], ids=repr)
async def test_a_line_whose_subject_cannot_be_read_blocks_all_later_lines(unread: bytes) -> None:
    """It may be of any subject; earlier lines are accepted, and later errors are still listed."""
    backend = FakeBackend()
    results = await submit(b"\n".join([line("a"), unread, line("a"), line("b"), b"?"]), backend)
    assert [result["status"] for result in results] == [202, 400, 503, 503, 400]
    assert [result["title"] for result in results[2:4]] == ["Not sent", "Not sent"]
    assert "line 2 " in results[3]["detail"]
    assert [message.group_id for queue in backend.queues.values() for message in queue.taken] == ["a"]


@pytest.mark.promise(3)
async def test_a_byte_order_mark_is_not_part_of_a_line() -> None:
    """RFC 8259 §8.1 lets a parser ignore it; else line 2 would be delivered before a corrected line 1."""
    mark = b"\xef\xbb\xbf"
    results = await submit(mark + line("one") + b"\n" + line("one") + b"\n" + mark + line("two") + b"\n")
    assert [(result["line"], result["status"]) for result in results] == [(1, 202), (2, 202), (3, 202)]


@pytest.mark.promise(1)
async def test_lines_that_the_queue_fails_get_503() -> None:
    """And so do the later lines of their subject, which were not sent."""

    def fail(_: int, message: OutgoingMessage) -> Sent | Failed:
        return Failed("InternalError", "", sender_fault=False) if message.group_id == "a" else Sent("i", 1)

    results = await submit(
        b"\n".join([line("a"), line("b"), line("a")]), FakeBackend(lambda url: FakeQueue(url, outcome=fail))
    )
    assert [result["status"] for result in results] == [503, 202, 503]
    assert "InternalError" in results[0]["detail"]
    assert "line 1 " in results[2]["detail"]


async def test_a_repeated_batch_with_an_idempotency_key_is_the_same_messages() -> None:
    """A line's key includes its number; else all lines of a subject would be one message."""
    body = line("a") + b"\n" + line("a")
    first, again = await submit(body, key="k"), await submit(body, key="k")
    assert [each["id"] for each in first] == [each["id"] for each in again]
    assert first[0]["id"] != first[1]["id"]


async def test_every_line_is_counted_under_its_queue_or_reason() -> None:
    """Metrics count messages, not requests."""
    metrics = MetricsRegistry()
    await submit(b"\n".join([line("pc_send_88_1"), line("pc_send_88_1"), b"?"]), metrics=metrics)
    text = metrics.render().decode()
    labels = 'namespace="helpdesk",queue="messages",route="conversations",subject_group="88"'
    assert f"chaski_messages_accepted_total{{{labels}}} 2.0" in text
    labels = 'namespace="helpdesk",reason="invalid",route="conversations"'
    assert f"chaski_ingest_rejections_total{{{labels}}} 1.0" in text


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x\n" * 3, None),
        (b"x\nx\nx", None),
        (b"x\n" * 3 + b"x", 413),
        (b"\n" * 10, 413),
        (b"", 400),
        (b" \n\n", 400),
        (b"\xef\xbb\xbf\n", 400),
    ],
    ids=repr,
)
def test_the_number_of_lines_is_bounded_and_not_zero(body: bytes, status: int | None) -> None:
    """Blank lines count, or a body of newlines would be unbounded work."""
    lines = split_lines(body, max_lines=3)
    if status is None:
        assert not isinstance(lines, Problem)
        assert [number for number, _ in lines] == [1, 2, 3]
    else:
        assert isinstance(lines, Problem)
        assert lines.status == status


# ---- the order of sending


def lines_of(subjects: Sequence[str]) -> list[Line]:
    """Lines of these subjects, numbered from 1."""
    return [
        Line(n, "queue", OutgoingMessage(b'{"subject":"%s","n":%d}' % (subject.encode(), n), subject, f"{n}"))
        for n, subject in enumerate(subjects, 1)
    ]


async def send(
    queue: FakeQueue, subjects: Sequence[str], expired: Callable[[], bool] = lambda: False
) -> dict[int, object]:
    """Sends a batch of lines to a queue."""
    batcher = Batcher(FakeBackend(lambda _: queue), SendingSettings(), lambda _: None)  # type: ignore[arg-type]  # the fake has the methods that a batcher calls
    sending = OrderedSend(batcher, lines_of(subjects), expired)
    await sending.run(workers=100)
    return dict(sending.results)


def failing(*numbers: int) -> Outcome:
    """Fails the lines with these numbers and accepts all others."""

    def outcome(_: int, message: OutgoingMessage) -> Sent | Failed:
        if int(message.deduplication_id) in numbers:
            return Failed("InternalError", "not now", sender_fault=False)
        return Sent("id", 1)

    return outcome


@pytest.mark.promise(3)
async def test_a_queue_that_can_fail_single_entries_gets_one_line_of_a_subject_at_a_time() -> None:
    """The next one is sent only after the acknowledgement; subjects are sent concurrently."""
    queue = FakeQueue(delay=1)
    results = await send(queue, ["a", "b", "a", "c", "a"])
    assert all(isinstance(result, Sent) for result in results.values())
    assert queue.subjects == [["a", "b", "c"], ["a"], ["a"]]
    assert [message.deduplication_id for message in queue.taken if subject_of(message) == "a"] == ["1", "3", "5"]


@pytest.mark.promise(3)
async def test_a_queue_that_accepts_batches_as_a_whole_gets_ten_lines_of_a_subject_in_one_call() -> None:
    """In their order."""
    queue = FakeQueue(delay=1, atomic_batches=True)
    await send(queue, ["a"] * 25)
    assert [len(call) for call in queue.calls] == [10, 10, 5]
    assert [message.deduplication_id for message in queue.taken] == [str(n) for n in range(1, 26)]


@pytest.mark.promise(3)
async def test_after_a_failure_no_later_line_of_that_subject_is_sent() -> None:
    """Nor is the failed one sent again; other subjects continue."""
    queue = FakeQueue(outcome=failing(3))
    results = await send(queue, ["a", "b", "a", "a", "b", "a"])
    assert isinstance(results[3], NotSent)
    assert results[4] == results[6] == BlockedByEarlierLine(3)
    assert all(isinstance(results[n], Sent) for n in (1, 2, 5))
    assert sorted(message.deduplication_id for call in queue.calls for message in call) == ["1", "2", "3", "5"]


@pytest.mark.promise(3)
async def test_a_failed_atomic_batch_blocks_the_rest_of_its_subject() -> None:
    """None of its lines was sent, and later ones are never tried."""
    queue = FakeQueue(atomic_batches=True, outcome=failing(*range(1, 11)))
    results = await send(queue, ["a"] * 12)
    assert all(isinstance(results[n], NotSent) for n in range(1, 11))
    assert results[11] == results[12] == BlockedByEarlierLine(1)
    assert len(queue.calls) == 1


async def test_after_the_deadline_no_line_is_sent() -> None:
    """The response has to reach the producer before it gives up."""
    loop = asyncio.get_running_loop()
    queue = FakeQueue(delay=1)
    results = await send(queue, ["a"] * 5, expired=lambda: loop.time() > 1.5)
    assert [isinstance(results[n], Sent) for n in range(1, 6)] == [True, True, False, False, False]
    assert len(queue.calls) == 2


@pytest.mark.promise(3)
@pytest.mark.parametrize("atomic", [False, True], ids=["sqs", "atomic"])
@pytest.mark.parametrize("seed", range(20))
async def test_accepted_lines_of_a_subject_are_a_prefix_of_its_lines(atomic: bool, seed: int) -> None:
    """Whatever fails at random, a line is on the queue only if every earlier one of its subject is."""
    chance = random.Random(seed)

    def outcome(number: int, message: OutgoingMessage) -> Sent | Failed:
        failed = random.Random(f"{seed}-{number}").random() < 0.1 if atomic else chance.random() < 0.05
        return Failed("InternalError", "", sender_fault=False) if failed else accept(number, message)

    subjects = [f"s{int(chance.paretovariate(1)) % 12}" for _ in range(300)]
    queue = FakeQueue(delay=0.01, atomic_batches=atomic, outcome=outcome)
    results = await send(queue, subjects)
    assert set(results) == set(range(1, 301))
    for subject in set(subjects):
        numbers = [n for n, each in enumerate(subjects, 1) if each == subject]
        taken = [int(message.deduplication_id) for message in queue.taken if subject_of(message) == subject]
        assert taken == numbers[: len(taken)]
        assert taken == [n for n in numbers if isinstance(results[n], Sent)]
