"""Reports a metric, a log line and a journal entry for each attempt, and metrics for each end of a message."""

from chaski_core.dead_letter import DeadLetter
from chaski_core.message.envelope import Metadata, metadata_of
from chaski_core.ports import AttemptEntry, AttemptJournal, Clock, ReceivedMessage
from chaski_core.retry.ladder import Delivered, GiveUp, Retry
from chaski_core.retry.outcome import class_of_key
from chaski_core.route.model import Route
from chaski_runtime.observability.logs import Logs
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups
from chaski_worker.delivery.attempt import AttemptResult
from chaski_worker.delivery.triage import Deliverable, Stage, url_of
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.observability.attempt_log import Attempt, AttemptLog
from chaski_worker.observability.content import redacted_content

INGEST = "ingest"


class Reporter:
    """Reports for one route.

    Args:
        route: the route.
        metrics: always.
        logs: for the log lines of attempts; None: none.
        journal: for the history of attempts; None: none.
        clock: for latencies.
        content_characters: of a message's content, in the log line of an attempt.
    """

    def __init__(
        self,
        route: Route,
        metrics: WorkerMetrics,
        logs: Logs | None,
        journal: AttemptJournal | None,
        clock: Clock,
        *,
        content_characters: int = 0,
    ) -> None:
        self._route = route
        self._metrics = metrics
        self._attempt_log = AttemptLog(logs) if logs is not None else None
        self._journal = journal
        self._clock = clock
        self._content_characters = content_characters
        self._groups = SubjectGroups(route.subject_group)

    def attempted(
        self, stage: Stage, task: Deliverable, result: AttemptResult, decision: Delivered | Retry | GiveUp
    ) -> None:
        """An attempt ended with this result, and this was decided for the message."""
        outcome, subject = result.outcome, task.envelope.subject
        queue = self._route.queue_for(subject).name
        self._metrics.attempt(
            namespace=self._route.namespace,
            route=self._route.name,
            queue=queue,
            stage=_stage_label(stage, result),
            target=outcome.target,
            outcome=outcome.label,
            error_class=outcome.error_class or "none",
            duration_seconds=outcome.duration_seconds,
        )
        if self._attempt_log is not None:
            self._attempt_log.write(self._line(stage, task, result, queue, decision))
        if self._journal is not None:
            self._journal.note(
                AttemptEntry(
                    message_id=task.message_id,
                    id=task.id,
                    subject=subject,
                    route=self._route.key,
                    number=result.number,
                    at=result.started_at,
                    stage=_stage_label(stage, result),
                    outcome=outcome.label,
                    error_class=outcome.key,
                    status=outcome.status,
                    duration_ms=round(outcome.duration_seconds * 1000, 3),
                    detail=outcome.detail,
                )
            )

    def delivered(self, task: Deliverable, target: str) -> None:
        """A target accepted a message, and its queue has deleted it."""
        route, metadata = self._route, task.envelope.metadata
        queue = route.queue_for(task.envelope.subject).name
        self._metrics.delivered(
            namespace=route.namespace,
            route=route.name,
            queue=queue,
            target=target,
            subject_group=self._groups.label(task.envelope.subject),
        )
        origin = origin_of(metadata)
        self._metrics.settled(namespace=route.namespace, route=route.name, origin=origin, end="delivered")
        if metadata is not None and metadata.accepted_at is not None and origin == INGEST:
            seconds = max(0.0, (self._clock.now_ms() - metadata.accepted_at) / 1000)
            self._metrics.latency(namespace=route.namespace, route=route.name, queue=queue, seconds=seconds)

    def dead_lettered(self, dead_letter: DeadLetter) -> None:
        """A message is stored as a dead letter, and its queue has deleted it."""
        self._metrics.dead_letter(
            namespace=self._route.namespace,
            route=self._route.name,
            queue=self._route.queue_for(dead_letter.subject).name,
            target=dead_letter.target,
            error_class=class_of_key(dead_letter.error_class) or "none",
            reason=dead_letter.reason,
            subject_group=self._groups.label(dead_letter.subject),
        )
        self._metrics.settled(
            namespace=self._route.namespace,
            route=self._route.name,
            origin=origin_of(metadata_of(dead_letter.envelope or {})),
            end="dead_lettered",
        )

    def handover_failed(self, to: str) -> None:
        """A message could not be handed over to its next home; it will be retried."""
        self._metrics.handover_failure(namespace=self._route.namespace, route=self._route.name, to=to)

    def repeated(self, stage: Stage, message: ReceivedMessage) -> None:
        """A message was redelivered that an earlier receive had not finished with."""
        self._metrics.repeat(
            namespace=self._route.namespace,
            route=self._route.name,
            queue=self._route.queue_for(message.group_id).name,
            stage=stage,
        )

    def _line(
        self, stage: Stage, task: Deliverable, result: AttemptResult, queue: str, decision: Delivered | Retry | GiveUp
    ) -> Attempt:
        envelope = task.envelope
        method = envelope.body.get("method")
        return Attempt(
            namespace=self._route.namespace,
            route=self._route.name,
            queue=queue,
            stage=_stage_label(stage, result),
            number=result.number,
            message_id=task.message_id,
            id=task.id,
            subject=envelope.subject,
            method=method if isinstance(method, str) else "POST",
            url=url_of(envelope),
            outcome=result.outcome,
            next=describe(decision),
            traceparent=envelope.metadata.traceparent if envelope.metadata else None,
            content=redacted_content(envelope.body, self._content_characters) if self._content_characters else "",
        )


def origin_of(metadata: Metadata | None) -> str:
    """The metric label `origin`: who sent a message to its queue. Only messages that ingest accepted can be missing."""
    if metadata is None or metadata.accepted_at is None:
        return "other"
    return "replay" if metadata.replay_of is not None or metadata.epoch else INGEST


def describe(decision: Delivered | Retry | GiveUp) -> str:
    """A decision as text for a log line; "" for delivered."""
    match decision:
        case Retry(rung=rung):
            return f"rung {rung.name} in {rung.delay_seconds} s"
        case GiveUp(reason=reason):
            return f"dead letter: {reason}"
        case _:
            return ""


def _stage_label(stage: Stage, result: AttemptResult) -> Stage:
    # In Strict a retry is made by the consumer of first attempts, because the message never left its queue.
    return Stage.RETRY if result.number > 1 else stage
