"""A batch request: NDJSON in, one result for each line out, in the order of the lines.

Blank lines are not messages: they get no result, but they count, so that `line` is the number that an editor shows.

A line is accepted only if every earlier line of its subject was. A queue that accepts a batch as a whole may be given
several lines of a subject in one call. SQS may fail one entry of a batch and accept a later one, so there a subject has one
line in flight, and the next is sent only after the acknowledgement. Subjects are sent concurrently.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from chaski_core import json_codec
from chaski_core.ports import MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, OutgoingMessage, Sent
from chaski_ingest import problems
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.capacity import UNNAMED, Holder
from chaski_ingest.submission.queue_batching import Batcher, NotSent, Result, entry_size
from chaski_ingest.submission.service import AcceptedMessage, SubmissionService
from chaski_ingest.submission.submission import BYTE_ORDER_MARK, Rejection, RequestContext

_BYTES_PER_TURN = 50_000  # validated before other requests get their turn: about 2 ms
_LINE_COST = 1_000  # of these bytes, for a line of any length
_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class _ValidLine:
    """A line that is sent, and its place."""

    id: str
    subject: str
    queue: str
    partition: int


@dataclass(frozen=True, slots=True)
class Line:
    """The message of one line that may be sent."""

    number: int  # from 1
    url: str  # of its queue
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class BlockedByEarlierLine:
    """A line that was not sent because `line`, an earlier one of its subject, was not accepted."""

    line: int


@dataclass(slots=True)
class _Validated:
    """The lines of a batch after validation, before anything is sent."""

    results: dict[int, _ValidLine | Problem] = field(default_factory=dict)  # by line number
    to_send: list[Line] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)  # subject -> its first line that can't be accepted
    unreadable: int | None = None  # the first line whose subject can't be read: it may be of any


def split_lines(body: bytes, max_lines: int) -> list[tuple[int, slice]] | Problem:
    """The positions of all lines that are not blank, with their numbers from 1; nothing of the body is copied."""
    if body.count(b"\n", 0, len(body) - 1) >= max_lines:
        return problems.too_large(f"the body has more than {max_lines} lines")
    lines, number = list[tuple[int, slice]](), 0
    start = len(BYTE_ORDER_MARK) if body.startswith(BYTE_ORDER_MARK) else 0
    while start < len(body):
        end, number = body.find(b"\n", start), number + 1
        end = len(body) if end < 0 else end
        if body[start:end].strip(_BLANK):
            lines.append((number, slice(start, end)))
        start = end + 1
    return lines or problems.of_status(400, "the body holds no message")


class BatchRequest:
    """One batch request."""

    def __init__(
        self,
        service: SubmissionService,
        context: RequestContext,
        settings: IngestSettings,
        expired: Callable[[], bool],
    ) -> None:
        """Prepares one request.

        Args:
            service: validates, sends and counts.
            context: the route and the origin of the messages.
            settings: limits.
            expired: whether the request's time is over.
        """
        self._service = service
        self._context = context
        self._settings = settings
        self._expired = expired

    async def run(self, body: bytes) -> bytes | Problem:
        """Sends the lines that can be sent, and returns one line of JSON for each of them."""
        lines = split_lines(body, self._settings.max_batch_lines)
        if isinstance(lines, Problem):
            return lines
        if self._context.debit is not None:  # the gate has debited the first message
            self._context.debit(len(lines) - 1)
        validated = await self._validate(body, lines)
        sending = OrderedSend(self._service.batcher, validated.to_send, self._expired, self._context.holder)
        await sending.run(self._settings.batch_workers)
        written = []
        for number, line in validated.results.items():
            result = self._result(line, sending.results[number]) if isinstance(line, _ValidLine) else line
            self._count(result)
            written.append(json_codec.dumps(_line_json(number, result)))
        return b"\n".join(written) + b"\n"

    async def _validate(self, body: bytes, lines: list[tuple[int, slice]]) -> _Validated:
        validated = _Validated()
        turn = 0
        for number, position in lines:
            data = body[position].strip(_BLANK)
            validated.results[number] = self._validate_line(validated, number, data)
            turn += _LINE_COST + len(data)
            if turn >= _BYTES_PER_TURN:
                turn = 0
                await asyncio.sleep(0)
        return validated

    def _validate_line(self, validated: _Validated, number: int, data: bytes) -> _ValidLine | Problem:
        origin = self._context.origin
        if origin.idempotency_key is not None:
            origin = replace(origin, idempotency_key=f"{origin.idempotency_key}#{number}")
        submission = self._service.validate(data, origin)
        if isinstance(submission, Rejection):
            if submission.subject:
                validated.failed.setdefault(submission.subject, number)
            elif validated.unreadable is None:
                validated.unreadable = number
            return submission.problem
        if validated.unreadable is not None:
            return problems.not_sent_after(validated.unreadable)
        if submission.subject in validated.failed:
            return problems.not_sent(validated.failed[submission.subject])
        queue, partition, url = self._context.resolved.place(submission.subject)
        validated.to_send.append(Line(number, url, submission.message))
        return _ValidLine(submission.id, submission.subject, queue, partition)

    def _result(self, line: _ValidLine, result: Result | BlockedByEarlierLine) -> AcceptedMessage | Problem:
        if isinstance(result, Sent):
            return AcceptedMessage(line.id, result.message_id, line.subject, line.queue, line.partition)
        return (
            problems.not_sent(result.line)
            if isinstance(result, BlockedByEarlierLine)
            else self._service.not_sent_problem(result)
        )

    def _count(self, result: AcceptedMessage | Problem) -> None:
        if isinstance(result, AcceptedMessage):
            self._service.count_accepted(self._context, result.queue, result.subject)
        else:
            self._service.count_rejected(self._context.resolved, result)


def _line_json(number: int, result: AcceptedMessage | Problem) -> dict[str, object]:
    if isinstance(result, AcceptedMessage):
        return {"line": number, "status": 202, **result.as_json()}
    return result.as_line(number)


class OrderedSend:
    """The sending of one batch request's lines, in the order of each subject."""

    def __init__(
        self, batcher: Batcher, lines: Iterable[Line], expired: Callable[[], bool], holder: Holder = UNNAMED
    ) -> None:
        """Groups the lines by subject.

        Args:
            batcher: sends to the queues.
            lines: in the order of the request.
            expired: whether the request's time is over, so that no further line is sent.
            holder: whose share of the send buffer they take.
        """
        self.results: dict[int, Result | BlockedByEarlierLine] = {}  # by line number
        self._batcher = batcher
        self._expired = expired
        self._holder = holder
        by_subject: dict[tuple[str, str], deque[Line]] = {}
        for line in lines:
            by_subject.setdefault((line.url, line.message.group_id), deque()).append(line)
        self._subjects = deque(by_subject.values())

    async def run(self, workers: int) -> None:
        """Sends all lines that may be sent, `workers` subjects at a time; afterwards every line has a result."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, len(self._subjects))):
                group.create_task(self._work())

    async def _work(self) -> None:
        while self._subjects:
            await self._send_subject(self._subjects.popleft())

    async def _send_subject(self, waiting: deque[Line]) -> None:
        url = waiting[0].url
        max_lines = MAX_BATCH_ENTRIES if self._batcher.atomic(url) else 1
        while waiting:
            if self._expired():
                late = NotSent("the time of the request was over before this line was sent")
                self.results.update((line.number, late) for line in waiting)
                return
            lines = _next_lines(waiting, max_lines)
            results = await self._batcher.send_batch(url, [line.message for line in lines], self._holder)
            failed = None
            for line, result in zip(lines, results, strict=True):
                self.results[line.number] = result
                if failed is None and not isinstance(result, Sent):
                    failed = line.number
            if failed is not None:
                self.results.update((line.number, BlockedByEarlierLine(failed)) for line in waiting)
                return


def _next_lines(waiting: deque[Line], max_lines: int) -> list[Line]:
    lines = [waiting.popleft()]
    size = entry_size(lines[0].message)
    while waiting and len(lines) < max_lines and size + entry_size(waiting[0].message) <= MAX_BATCH_BYTES:
        size += entry_size(waiting[0].message)
        lines.append(waiting.popleft())
    return lines
