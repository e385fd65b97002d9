"""The steps that single and batch requests share: validate a message, send it to its queue, count the result."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from chaski_core.ports import Backend, Sent
from chaski_core.route.model import Route, SubjectGroup
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.values import message_value
from chaski_ingest import problems
from chaski_ingest.metrics import NO_ROUTE, IngestMetrics
from chaski_ingest.problems import Problem
from chaski_ingest.settings import IngestSettings
from chaski_ingest.submission.queue_batching import Batcher, NotSent, OnSent, ignore_sent
from chaski_ingest.submission.submission import Origin, Rejection, RequestContext, Submission, validate
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups

_RANDOM_BYTES = 10  # of a generated id
_MAX_GROUPS = 2_000  # routes, deleted ones included


@message_value
class AcceptedMessage:
    """A message that its queue has stored durably."""

    id: str  # the label
    message_id: str  # the identity: the queue's MessageId, of the first request where this one repeats it
    subject: str
    queue: str
    partition: int

    def as_json(self) -> dict[str, Any]:
        """Its fields in a 202 response and in a line of a batch response."""
        return {
            "id": self.id,
            "messageId": self.message_id,
            "subject": self.subject,
            "queue": self.queue,
            "partition": self.partition,
        }


class SubmissionService:
    """Validates, sends and counts the messages of all requests of this process."""

    def __init__(
        self,
        backend: Backend,
        metrics: IngestMetrics,
        settings: IngestSettings,
        random: Callable[[int], bytes],
        monotonic: Callable[[], float],
        on_sent: OnSent = ignore_sent,
    ) -> None:
        """Creates the service and its send buffer.

        Args:
            backend: where the queues are.
            metrics: counts the result of each message.
            settings: limits.
            random: returns the given number of random bytes.
            monotonic: seconds.
            on_sent: called after each call to a queue.
        """
        self.batcher = Batcher(backend, settings.sending, lambda entries: metrics.send_batch(entries=entries), on_sent)
        metrics.observe_buffer(self.batcher.buffer_reading)
        self._metrics = metrics
        self._settings = settings
        self._random = random
        self._monotonic = monotonic
        # By route, the one that was used least recently first.
        self._groups: OrderedDict[str, tuple[SubjectGroup | None, SubjectGroups]] = OrderedDict()

    def validate(self, data: bytes, origin: Origin) -> Submission | Rejection:
        """Validates one message's JSON."""
        return validate(data, origin, self._random(_RANDOM_BYTES), self._settings)

    async def submit(self, context: RequestContext, data: bytes) -> AcceptedMessage | Problem:
        """Validates one message and sends it; returns once the queue has acknowledged it."""
        validated = self.validate(data, context.origin)
        if isinstance(validated, Rejection):
            return validated.problem
        queue, partition, url = context.resolved.place(validated.subject)
        result = await self.batcher.send(url, validated.message, context.holder)
        if not isinstance(result, Sent):
            return self.not_sent_problem(result)
        self.count_accepted(context, queue, validated.subject)
        return AcceptedMessage(validated.id, result.message_id, validated.subject, queue, partition)

    def not_sent_problem(self, result: NotSent) -> Problem:
        """The problem of a message that the queue has not acknowledged."""
        if result.overloaded:
            return problems.overloaded(result.reason, self._settings.retry_after_seconds)
        seconds = result.retry_after_seconds
        wait = self._settings.retry_after_seconds if seconds is None else max(1, math.ceil(seconds))
        return problems.queue_unavailable(result.reason, wait)

    def count_accepted(self, context: RequestContext, queue: str, subject: str) -> None:
        """Counts a message that was answered with 202."""
        route = context.resolved.route
        group = self._subject_groups(route).label(subject, context.origin.producer, self._monotonic())
        self._metrics.accepted(namespace=route.namespace, route=route.name, queue=queue, subject_group=group)

    def count_rejected(self, resolved: ResolvedRoute | None, problem: Problem) -> None:
        """Counts a message, or a whole request, that was answered with a problem."""
        namespace, name = (resolved.route.namespace, resolved.route.name) if resolved else (NO_ROUTE, NO_ROUTE)
        self._metrics.rejected(namespace=namespace, route=name, reason=problem.reason)

    def _subject_groups(self, route: Route) -> SubjectGroups:
        known = self._groups.get(route.key)
        if known is None or known[0] != route.subject_group:
            end_series = partial(self._metrics.end_subject_groups, route.namespace, route.name)
            groups = SubjectGroups(route.subject_group, end_series)
            known = self._groups[route.key] = (route.subject_group, groups)
            if len(self._groups) > _MAX_GROUPS:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(route.key)
        return known[1]
