"""What both kinds of request share: judging a message, putting it on its queue, counting what became of it."""

import math
from collections.abc import Callable
from typing import Any

from chaski_core.ports import Backend, Sent
from chaski_core.route.model import SubjectGroup
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.values import message_value
from chaski_ingest.auth.gate import RequestContext
from chaski_ingest.http import problems
from chaski_ingest.http.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.queue_batching import Batcher, NotSent
from chaski_ingest.submission.submission import Origin, Rejection, Submission, judge
from chaski_runtime.observability.metrics.instruments import Metrics
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups

_RANDOM_BYTES = 10  # of a generated id
_NO_ROUTE = "none"  # what a stranger asks for is no label


@message_value
class AcceptedMessage:
    """A message that its queue has, durably."""

    id: str  # the label
    message_id: str  # the identity: the queue's MessageId, of the first request where this one repeats it
    subject: str
    queue: str
    partition: int

    def as_json(self) -> dict[str, Any]:
        """As both kinds of answer say it."""
        return {
            "id": self.id,
            "messageId": self.message_id,
            "subject": self.subject,
            "queue": self.queue,
            "partition": self.partition,
        }


class SubmissionService:
    """Takes messages for everyone in this process."""

    def __init__(
        self, backend: Backend, metrics: Metrics, settings: IngestSettings, random: Callable[[int], bytes]
    ) -> None:
        """Puts it together.

        Args:
            backend: where the queues are.
            metrics: told what became of each message.
            settings: limits.
            random: makes so many random bytes.
        """
        self.batcher = Batcher(backend, settings.sending, lambda entries: metrics.send_batch(entries=entries))
        metrics.observe_buffer(self.batcher.reading)
        self._metrics = metrics
        self._settings = settings
        self._random = random
        self._groups: dict[str, tuple[SubjectGroup | None, SubjectGroups]] = {}  # by route

    def judge(self, data: bytes, origin: Origin) -> Submission | Rejection:
        """Judges one message's JSON."""
        return judge(data, origin, self._random(_RANDOM_BYTES), self._settings)

    async def submit(self, admission: RequestContext, data: bytes) -> AcceptedMessage | Problem:
        """Judges one message and puts it on its queue; returns after the queue has acknowledged it."""
        verdict = self.judge(data, admission.origin)
        if isinstance(verdict, Rejection):
            return verdict.problem
        queue, partition, url = admission.resolved.place(verdict.subject)
        result = await self.batcher.send(url, verdict.message, admission.holder)
        if not isinstance(result, Sent):
            return self.unsent(result)
        self.count_accepted(admission.resolved, queue, verdict.subject)
        return AcceptedMessage(verdict.id, result.message_id, verdict.subject, queue, partition)

    def unsent(self, result: NotSent) -> Problem:
        """What a message is answered that the queue has not acknowledged."""
        if result.overloaded:
            return self.overloaded(result.reason)
        seconds = result.retry_after_seconds
        wait = self._settings.retry_after_seconds if seconds is None else max(1, math.ceil(seconds))
        return problems.queue_away(result.reason, wait)

    def overloaded(self, detail: str) -> Problem:
        """What is answered where there is no room."""
        return problems.overloaded(detail, self._settings.retry_after_seconds)

    def count_accepted(self, resolved: ResolvedRoute, queue: str, subject: str) -> None:
        """Counts a message that was answered 202."""
        route = resolved.route
        group = self._subject_groups(resolved).label(subject)
        self._metrics.accepted(namespace=route.namespace, route=route.name, queue=queue, subject_group=group)

    def count_rejected(self, resolved: ResolvedRoute | None, problem: Problem) -> None:
        """Counts a message, or a whole request, that was answered otherwise."""
        namespace, name = (resolved.route.namespace, resolved.route.name) if resolved else (_NO_ROUTE, _NO_ROUTE)
        self._metrics.rejected(namespace=namespace, route=name, reason=problem.reason)

    def _subject_groups(self, resolved: ResolvedRoute) -> SubjectGroups:
        route = resolved.route
        known = self._groups.get(route.key)
        if known is None or known[0] != route.subject_group:
            known = self._groups[route.key] = (route.subject_group, SubjectGroups(route.subject_group))
        return known[1]
