from typing import Any

import orjson
import pytest

from chaski_core.ports import Failed, OutgoingMessage, Sent
from chaski_ingest.auth.gate import RequestContext
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.batch_request import Batch, split
from chaski_ingest.submission.service import SubmissionService
from chaski_ingest.submission.submission import Origin
from chaski_runtime.observability.metrics.instruments import Metrics
from unit.ingest.fakes import NOW, FakeBackend, FakeQueue, resolved, subject_of

pytestmark = pytest.mark.looptime


def line(subject: str, **more: object) -> bytes:
    """One message as a line."""
    return orjson.dumps({"subject": subject, "body": {"url": "https://h/"}, **more})


async def take(
    body: bytes, backend: FakeBackend | None = None, metrics: Metrics | None = None, key: str | None = None
) -> list[dict[str, Any]]:
    """The answers to a batch."""
    settings = IngestSettings()
    acceptance = SubmissionService(backend or FakeBackend(), metrics or Metrics(), settings, lambda n: b"z" * n)  # type: ignore[arg-type]  # the fake has what ingest uses
    admission = RequestContext(resolved(), Origin("helpdesk/conversations", NOW, idempotency_key=key))
    answer = await Batch(acceptance, admission, settings, lambda: False).take(body)
    assert isinstance(answer, bytes)
    assert answer.endswith(b"\n")
    return [orjson.loads(each) for each in answer.splitlines()]


async def test_every_line_is_answered_in_order_with_its_place() -> None:
    """The fields are those of the single answer, with the line's number and status."""
    backend = FakeBackend()
    answers = await take(line("pc_assignments_1", id="one") + b"\n" + line("x", id="two") + b"\n", backend)
    assert answers[0] == {
        "line": 1,
        "status": 202,
        "id": "one",
        "messageId": backend.queues["assignments-0"].taken[0].deduplication_id,
        "subject": "pc_assignments_1",
        "queue": "assignments",
        "partition": 0,
    }
    assert (answers[1]["line"], answers[1]["queue"]) == (2, "messages")


async def test_a_faulty_line_names_all_its_faults_and_others_are_accepted() -> None:
    """Each line is judged on its own."""
    answers = await take(b'{"subject": "b", "id": "?"}\n' + line("a") + b"\nnonsense")
    assert [answer["status"] for answer in answers] == [400, 202, 400]
    assert set(answers[0]) == {"line", "status", "title", "detail", "errors"}
    assert [error["field"] for error in answers[0]["errors"]] == ["id", "body"]


async def test_blank_lines_are_no_messages_but_are_counted() -> None:
    """So that `line` is the number that an editor shows; CRLF does as well as LF."""
    answers = await take(b"\n" + line("a") + b"\r\n \t\r\n" + line("b") + b"\r\n\n")
    assert [answer["line"] for answer in answers] == [2, 4]


@pytest.mark.promise(3)
async def test_a_faulty_line_holds_back_the_later_lines_of_its_subject() -> None:
    """A line is accepted only if every earlier line of its subject was."""
    backend = FakeBackend()
    body = b"\n".join([line("a"), line("a", id="not valid!"), line("a"), line("b"), line("a", id="?")])
    answers = await take(body, backend)
    assert [answer["status"] for answer in answers] == [202, 400, 503, 202, 400]
    assert "line 2 " in answers[2]["detail"]
    taken = [message for queue in backend.queues.values() for message in queue.taken]
    assert sorted(subject_of(message) for message in taken) == ["a", "b"]


@pytest.mark.promise(3)
@pytest.mark.parametrize("unread", [b"nonsense", b"[]", b'{"subject": 1}', b'{"subject": "", "body": {}}'], ids=repr)
async def test_a_line_whose_subject_cannot_be_read_holds_back_all_later_lines(unread: bytes) -> None:
    """It may be of any subject; what comes before it is accepted, and later faults are still named."""
    backend = FakeBackend()
    answers = await take(b"\n".join([line("a"), unread, line("a"), line("b"), b"?"]), backend)
    assert [answer["status"] for answer in answers] == [202, 400, 503, 503, 400]
    assert [answer["title"] for answer in answers[2:4]] == ["Not sent", "Not sent"]
    assert "line 2 " in answers[3]["detail"]
    assert [message.group_id for queue in backend.queues.values() for message in queue.taken] == ["a"]


@pytest.mark.promise(3)
async def test_a_byte_order_mark_is_no_part_of_a_line() -> None:
    """RFC 8259 §8.1 lets a parser leave it out; else line 2 would be delivered, and line 1 would come after it."""
    mark = b"\xef\xbb\xbf"
    answers = await take(mark + line("one") + b"\n" + line("one") + b"\n" + mark + line("two") + b"\n")
    assert [(answer["line"], answer["status"]) for answer in answers] == [(1, 202), (2, 202), (3, 202)]


@pytest.mark.promise(1)
async def test_lines_that_the_queue_fails_are_answered_503() -> None:
    """And so are those behind them, which were not sent."""

    def fail(_: int, message: OutgoingMessage) -> Sent | Failed:
        return Failed("InternalError", "", sender_fault=False) if message.group_id == "a" else Sent("i", 1)

    answers = await take(
        b"\n".join([line("a"), line("b"), line("a")]), FakeBackend(lambda url: FakeQueue(url, answer=fail))
    )
    assert [answer["status"] for answer in answers] == [503, 202, 503]
    assert "InternalError" in answers[0]["detail"]
    assert "line 1 " in answers[2]["detail"]


async def test_a_key_names_each_line_so_that_a_repeated_batch_is_the_same_messages() -> None:
    """The line's number is part of it; without that all lines of a subject would be one message."""
    body = line("a") + b"\n" + line("a")
    first, again = await take(body, key="k"), await take(body, key="k")
    assert [answer["id"] for answer in first] == [answer["id"] for answer in again]
    assert first[0]["id"] != first[1]["id"]


async def test_every_line_is_counted_under_its_queue_or_reason() -> None:
    """Metrics count messages, not requests."""
    metrics = Metrics()
    await take(b"\n".join([line("pc_send_88_1"), line("pc_send_88_1"), b"?"]), metrics=metrics)
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
    lines = split(body, max_lines=3)
    if status is None:
        assert not isinstance(lines, Problem)
        assert [number for number, _ in lines] == [1, 2, 3]
    else:
        assert isinstance(lines, Problem)
        assert lines.status == status
