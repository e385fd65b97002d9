"""Reports a metric, a log line and a journal entry for each attempt, and metrics for each end of a message.

Log lines have the field names of the Elastic Common Schema. Queries and headers are never logged, and of bodies only what
the settings ask to show.
"""

import functools
import logging
import time
from typing import Any
from urllib.parse import urlsplit

from chaski_core.dead_letter import DeadLetter
from chaski_core.message.envelope import Metadata, metadata_of
from chaski_core.ports import AttemptEntry, AttemptJournal, Clock, ReceivedMessage
from chaski_core.retry.ladder import Decision, GiveUp, Hold, Retry
from chaski_core.retry.outcome import Outcome, class_of_key
from chaski_core.route.model import Route
from chaski_core.timestamps import timestamp
from chaski_core.values import message_value
from chaski_runtime.observability.logs import ECS_VERSION, CommonFields, Logs
from chaski_runtime.observability.metrics.subject_groups import NONE as NO_GROUP
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups
from chaski_worker.delivery.attempt import AttemptResult
from chaski_worker.delivery.triage import Deliverable, Stage
from chaski_worker.metrics import WorkerMetrics
from chaski_worker.observability.content import redacted_content

INGEST = "ingest"
_REMEMBERED_URLS = 256  # most messages go to few URLs, each of at most 2,048 characters
_PORTS = {"http": 80, "https": 443}


@message_value
class AttemptReport:
    """The record of an attempt that has ended: made once, rendered as metrics, a log line and a journal entry."""

    namespace: str
    route: str
    queue: str  # the declared queue's name
    stage: str  # first | retry
    number: int  # from 1
    started_at: int  # epoch milliseconds
    message_id: str  # the identity
    id: str  # the label
    subject: str
    method: str
    url: str
    outcome: Outcome
    next: str = ""  # where the message goes, for people: "rung medium in 60 s", "dead letter: exhausted"
    traceparent: str | None = None
    content: str = ""  # the part of the message's content that may be shown


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
        self._namespace, self._name = route.namespace, route.name
        self._metrics = metrics
        self._logs = logs
        self._journal = journal
        self._clock = clock
        self._content_characters = content_characters
        end_series = functools.partial(metrics.end_subject_groups, route.namespace, route.name)
        self._groups = SubjectGroups(route.subject_group, end_series)

    def attempted(self, stage: Stage, task: Deliverable, result: AttemptResult, decision: Decision | None) -> None:
        """An attempt ended with this result, and this was decided for the message; None: it is attempted again, uncounted."""
        report = self._report(stage, task, result, decision)
        outcome = report.outcome
        error_class = outcome.error_class or "none"
        labels = (self._namespace, self._name, report.queue, report.stage, outcome.target, outcome.label, error_class)
        self._metrics.attempts.observe(labels, outcome.duration_seconds)
        if self._logs is not None:
            write_line(self._logs, report)
        if self._journal is not None:
            self._journal.note(journal_entry(report))

    def delivered(self, task: Deliverable, target: str) -> None:
        """A target accepted a message, and its queue has deleted it."""
        metadata = task.envelope.metadata
        queue = self._route.queue_for(task.envelope.subject).name
        group = self._group(task.envelope.subject, metadata)
        self._metrics.delivered.add((self._namespace, self._name, queue, target, group))
        origin = origin_of(metadata)
        self._metrics.settled.add((self._namespace, self._name, origin, "delivered"))
        if metadata is not None and metadata.accepted_at is not None and origin == INGEST:
            seconds = max(0.0, (self._clock.now_ms() - metadata.accepted_at) / 1000)
            self._metrics.latency.observe((self._namespace, self._name, queue), seconds)

    def discarded(self, task: Deliverable, target: str) -> None:
        """The route keeps no message for which its target answered this, and its queue has deleted it."""
        queue = self._route.queue_for(task.envelope.subject).name
        self._metrics.discarded.add((self._namespace, self._name, queue, target))
        origin = origin_of(task.envelope.metadata)
        self._metrics.settled.add((self._namespace, self._name, origin, "discarded"))

    def dead_lettered(self, dead_letter: DeadLetter) -> None:
        """A message is stored as a dead letter, and its queue has deleted it."""
        metadata = metadata_of(dead_letter.envelope or {})
        queue = self._route.queue_for(dead_letter.subject).name
        error_class = class_of_key(dead_letter.error_class) or "none"
        group = self._group(dead_letter.subject, metadata)
        labels = (self._namespace, self._name, queue, dead_letter.target, error_class, dead_letter.reason, group)
        self._metrics.dead_letters.add(labels)
        self._metrics.settled.add((self._namespace, self._name, origin_of(metadata), "dead_lettered"))

    def handover_failed(self, to: str) -> None:
        """A message could not be handed over to its next home; it will be retried."""
        self._metrics.handover_failures.add((self._namespace, self._name, to))

    def repeated(self, stage: Stage, message: ReceivedMessage) -> None:
        """A message was redelivered that an earlier receive had not finished with."""
        self._metrics.repeats.add((self._namespace, self._name, self._route.queue_for(message.group_id).name, stage))

    def _group(self, subject: str, metadata: Metadata | None) -> str:
        if self._route.subject_group is None:
            return NO_GROUP
        return self._groups.label(subject, metadata.producer if metadata else None, self._clock.monotonic())

    def _report(
        self, stage: Stage, task: Deliverable, result: AttemptResult, decision: Decision | None
    ) -> AttemptReport:
        envelope, route = task.envelope, self._route
        url, method = envelope.body.get("url"), envelope.body.get("method")
        return AttemptReport(
            namespace=route.namespace,
            route=route.name,
            queue=route.queue_for(envelope.subject).name,
            # In Strict a retry is made by the consumer of first attempts, because the message never left its queue.
            stage=Stage.RETRY if result.number > 1 else stage,
            number=result.number,
            started_at=result.started_at,
            message_id=task.message_id,
            id=task.id,
            subject=envelope.subject,
            method=method if isinstance(method, str) else "POST",
            url=url if isinstance(url, str) else "",
            outcome=result.outcome,
            next="" if result.outcome.error_class is None else describe(decision, self._clock.now_ms()),
            traceparent=envelope.metadata.traceparent if envelope.metadata else None,
            content=redacted_content(envelope.body, self._content_characters, route.redaction)
            if self._content_characters
            else "",
        )


def origin_of(metadata: Metadata | None) -> str:
    """The metric label `origin`: who sent a message to its queue. Only messages that ingest accepted can be missing."""
    if metadata is None or metadata.accepted_at is None:
        return "other"
    return "replay" if metadata.replay_of is not None or metadata.epoch else INGEST


def describe(decision: Decision | None, now_ms: int) -> str:
    """A decision, made at a time in epoch milliseconds, as text for a log line; "" for delivered or discarded."""
    match decision:
        case None:
            return "waits: its host is held, and this attempt does not count"
        case Retry(rung=rung, due_at=due_at):
            return f"rung {rung.name} in {max(0, round((due_at - now_ms) / 1000))} s"
        case GiveUp(reason=reason):
            return f"dead letter: {reason}"
        case Hold():
            return "held: no retry is left"
        case _:
            return ""


def write_line(logs: Logs, report: AttemptReport) -> None:
    """Logs an attempt that has just ended: as info where it was delivered, else as a warning."""
    if logs.is_enabled(logging.WARNING if report.outcome.error_class else logging.INFO):
        logs.write(logs.render(_own_fields(report, time.time_ns() // 1_000_000), _common_fields(report)))


def journal_entry(report: AttemptReport) -> AttemptEntry:
    """An attempt as the journal keeps it."""
    outcome = report.outcome
    return AttemptEntry(
        message_id=report.message_id,
        id=report.id,
        subject=report.subject,
        route=f"{report.namespace}/{report.route}",
        number=report.number,
        at=report.started_at,
        stage=report.stage,
        outcome=outcome.label,
        error_class=outcome.key,
        status=outcome.status,
        duration_ms=round(outcome.duration_seconds * 1000, 3),
        detail=outcome.detail,
    )


def attempt_fields(report: AttemptReport, now_ms: int) -> dict[str, Any]:
    """The fields of an attempt's log line.

    Args:
        report: the attempt.
        now_ms: epoch milliseconds at its end.
    """
    return _own_fields(report, now_ms) | _common_fields(report).fields


def _own_fields(report: AttemptReport, now_ms: int) -> dict[str, Any]:
    outcome = report.outcome
    delivered = outcome.error_class is None
    fields: dict[str, Any] = {
        "@timestamp": timestamp(now_ms),
        "log.level": "info" if delivered else "warn",
        "message": "delivered" if delivered else attempt_message(report),
        "event.duration": round(outcome.duration_seconds * 1e9),
        "chaski.message.id": report.message_id,
        "chaski.id": report.id,
        "chaski.subject": report.subject,
        "chaski.attempt.number": report.number,
    }
    if outcome.status is not None:
        fields["http.response.status_code"] = outcome.status
    if not delivered:
        fields["error.type"] = outcome.key
        fields["error.message"] = outcome.detail
    if report.next:
        fields["chaski.next"] = report.next
    if report.traceparent:
        fields["trace.id"] = report.traceparent[3:35]
    if report.content:
        fields["http.request.body.content"] = report.content
    return fields


def _common_fields(report: AttemptReport) -> CommonFields:
    outcome = report.outcome
    return _remembered_fields(
        report.namespace,
        report.route,
        report.queue,
        report.stage,
        report.method,
        report.url,
        outcome.target,
        outcome.label,
    )


@functools.lru_cache(_REMEMBERED_URLS)
def _remembered_fields(  # noqa: PLR0913, PLR0917 - the key of the cache: a bundle would have to be made each time
    namespace: str, route: str, queue: str, stage: str, method: str, url: str, target: str, outcome: str
) -> CommonFields:
    """What the lines of attempts to one URL share: with it a line takes 15,800 instructions, without it 27,900."""
    fields: dict[str, Any] = {
        "ecs.version": ECS_VERSION,
        "event.action": "delivery",
        "event.category": ["web"],
        "event.outcome": "success" if outcome == "delivered" else "failure",
        "http.request.method": method,
        "labels.namespace": namespace,
        "labels.route": route,
        "labels.queue": queue,
        "labels.target": target,
        "chaski.attempt.stage": stage,
        "chaski.attempt.outcome": outcome,
    }
    add_url(fields, url)
    return CommonFields(fields)


def attempt_message(report: AttemptReport) -> str:
    """A failed attempt as a text."""
    outcome = report.outcome
    text = outcome.label if outcome.label == outcome.key else f"{outcome.label} with {outcome.key}"
    if outcome.detail:
        text += f": {outcome.detail}"
    return f"{text}; {report.next}" if report.next else text


def add_url(fields: dict[str, Any], url: str) -> None:
    """Adds the fields of a URL: scheme, host, port and path; nothing where it can't be parsed.

    A URL that the guard refused is logged too, so this accepts more than the parser that the guard uses.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return
    fields["url.scheme"] = parts.scheme
    fields["url.domain"] = parts.hostname or ""
    fields["url.port"] = _PORTS.get(parts.scheme, 0) if port is None else port
    fields["url.path"] = parts.path
