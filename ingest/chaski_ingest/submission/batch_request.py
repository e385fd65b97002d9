"""A batch request: NDJSON in, one result per line out, in the order of the lines.

Blank lines are no messages: they get no result, but they count, so that `line` is what an editor shows.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chaski_core import json_codec
from chaski_core.ports import Sent
from chaski_ingest.auth.gate import RequestContext
from chaski_ingest.http import problems
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.ordered_send import BlockedByEarlierLine, Line, OrderedSend
from chaski_ingest.submission.queue_batching import NotSent
from chaski_ingest.submission.service import AcceptedMessage, SubmissionService
from chaski_ingest.submission.submission import BYTE_ORDER_MARK, Rejection

_BYTES_A_TURN = 50_000  # judged before other requests get their turn: about 2 ms
_LINE_COSTS = 1_000  # of them, for a line of any length
_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class _Sendable:
    """A line that is sent, and where."""

    id: str
    subject: str
    queue: str
    partition: int


@dataclass(slots=True)
class _Judged:
    """What is known of a batch's lines before anything is sent."""

    answers: dict[int, _Sendable | Problem] = field(default_factory=dict)  # by line number
    sendable: list[Line] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)  # subject -> its first line that can't be accepted
    unreadable: int | None = None  # the first line whose subject can't be read: it may be of any


def split(body: bytes, max_lines: int) -> list[tuple[int, slice]] | Problem:
    """Where the lines are that are not blank, with their numbers from 1; nothing of the body is copied."""
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


class Batch:
    """One batch request."""

    def __init__(
        self,
        acceptance: SubmissionService,
        admission: RequestContext,
        settings: IngestSettings,
        expired: Callable[[], bool],
    ) -> None:
        """Takes what it needs.

        Args:
            acceptance: judges, sends and counts.
            admission: the route and what is known of the messages.
            settings: limits.
            expired: whether the request's time is over.
        """
        self._acceptance = acceptance
        self._admission = admission
        self._settings = settings
        self._expired = expired

    async def take(self, body: bytes) -> bytes | Problem:
        """Sends the lines that can be sent, and answers for each of them."""
        lines = split(body, self._settings.max_batch_lines)
        if isinstance(lines, Problem):
            return lines
        if self._admission.charge is not None:  # the first one was paid for at the gate
            self._admission.charge(len(lines) - 1)
        judged = await self._judge(body, lines)
        sending = OrderedSend(self._acceptance.batcher.of(self._admission.holder), judged.sendable, self._expired)
        await sending.run(self._settings.batch_workers)
        written = []
        for number, answer in judged.answers.items():
            final = self._final(answer, sending.results[number]) if isinstance(answer, _Sendable) else answer
            self._count(final)
            written.append(json_codec.dumps(_line_json(number, final)))
        return b"\n".join(written) + b"\n"

    async def _judge(self, body: bytes, lines: list[tuple[int, slice]]) -> _Judged:
        judged = _Judged()
        turn = 0
        for number, where in lines:
            data = body[where].strip(_BLANK)
            judged.answers[number] = self._judge_line(judged, number, data)
            turn += _LINE_COSTS + len(data)
            if turn >= _BYTES_A_TURN:
                turn = 0
                await asyncio.sleep(0)
        return judged

    def _judge_line(self, judged: _Judged, number: int, data: bytes) -> _Sendable | Problem:
        origin = self._admission.origin
        if origin.idempotency_key is not None:
            origin = replace(origin, idempotency_key=f"{origin.idempotency_key}#{number}")
        verdict = self._acceptance.judge(data, origin)
        if isinstance(verdict, Rejection):
            if verdict.subject:
                judged.failed.setdefault(verdict.subject, number)
            elif judged.unreadable is None:
                judged.unreadable = number
            return verdict.problem
        if judged.unreadable is not None:
            return problems.not_sent_after(judged.unreadable)
        if verdict.subject in judged.failed:
            return problems.not_sent(judged.failed[verdict.subject])
        queue, partition, url = self._admission.resolved.place(verdict.subject)
        judged.sendable.append(Line(number, url, verdict.message))
        return _Sendable(verdict.id, verdict.subject, queue, partition)

    def _final(self, line: _Sendable, result: Sent | NotSent | BlockedByEarlierLine) -> AcceptedMessage | Problem:
        if isinstance(result, Sent):
            return AcceptedMessage(line.id, result.message_id, line.subject, line.queue, line.partition)
        return (
            problems.not_sent(result.line)
            if isinstance(result, BlockedByEarlierLine)
            else self._acceptance.unsent(result)
        )

    def _count(self, answer: AcceptedMessage | Problem) -> None:
        if isinstance(answer, AcceptedMessage):
            self._acceptance.count_accepted(self._admission.resolved, answer.queue, answer.subject)
        else:
            self._acceptance.count_rejected(self._admission.resolved, answer)


def _line_json(number: int, answer: AcceptedMessage | Problem) -> dict[str, object]:
    if isinstance(answer, AcceptedMessage):
        return {"line": number, "status": 202, **answer.as_json()}
    return answer.as_line(number)
