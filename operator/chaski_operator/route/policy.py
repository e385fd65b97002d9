"""What follows from what was found: the conditions, what runs empty, when to look again. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_aws.provision.settings import GENERATION_TAG, QUEUE_TAG, RUNG_TAG
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.errors import FieldError
from chaski_core.route.model import Route
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.manifests.names import FINALIZER
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.conditions import (
    ACCEPTED,
    BACKLOG_LIMIT,
    DRIFTED,
    OWN,
    QUEUES_READY,
    READY,
    SUSPENDED,
    TABLES_READY,
    Verdict,
    bad,
    good,
    unknown,
    workers_available,
)
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeApiError, KubeRefusedError

NEAR_LIMIT = 96_000  # messages of one queue: 80 % of those in which SQS looks for groups that can be delivered
_REASONS = {
    "QueueDeletedRecently": "RecentlyDeleted",
    "TableNotActive": "TableCreating",
    "ResourceInUse": "TableUpdating",
}
_FOR_HUMANS = 60.0  # seconds: what AWS says "later" to for this long or longer is not a passing trouble

Failure = ProvisionError | KubeApiError | ForeignObjectError


@dataclass(frozen=True, slots=True)
class RouteObservation:
    """All that one look at a route found."""

    faults: Sequence[FieldError] = ()
    route: Route | None = None  # None: it has faults
    settled: ProvisionResult | None = None  # None: AWS could not be looked at
    cloud_error: ProvisionError | None = None
    corrected: Sequence[str] = ()  # what somebody else had changed, and was put right, since AWS was last looked at
    apply_error: KubeApiError | ForeignObjectError | None = None
    deployments: Sequence[Mapping[str, Any]] = ()
    wanted_deployments: int = 0
    pods: Sequence[Mapping[str, Any]] = ()  # the workers', where some do not run
    is_fresh: bool = False  # `settled` is of this look

    @property
    def failures(self) -> list[Failure]:
        """What went wrong and may be tried again."""
        return [error for error in (self.cloud_error, self.apply_error) if error is not None]


def verdicts(found: RouteObservation) -> list[Verdict]:
    """The operator's conditions but Ready, which is their sum."""
    if found.route is None:
        told = "; ".join(str(fault) for fault in found.faults)
        return [bad(ACCEPTED, "InvalidSpec", told), *(unknown(each) for each in OWN if each not in (READY, ACCEPTED))]
    return [
        good(ACCEPTED, "Valid"),
        *cloud_verdicts(found.settled, found.cloud_error),
        _workers(found),
        _suspended(found.route),
        _drifted(found),
        _backlog(found.settled),
    ]


def cloud_verdicts(settled: ProvisionResult | None, error: ProvisionError | None) -> list[Verdict]:
    """QueuesReady and TablesReady."""
    return [_queues(settled, error), _tables(settled, error)]


def reason_of(error: ProvisionError) -> str:
    """One word for programs."""
    if isinstance(error, NotOursError):
        return "QueueNotOwned" if error.problem.service == "sqs" else "TableNotOwned"
    code = re.sub(r"[^A-Za-z0-9_]", "", error.code.removesuffix("Exception")) or "Failed"
    return _REASONS.get(code, code)


def told(error: ProvisionError) -> str:
    """A sentence for people, with what to do."""
    return f"{error}" + (f" -- {error.fix}" if error.fix else "")


def fenced_at(observed: Observed, numbers: Iterable[int]) -> dict[int, str]:
    """Since when generations take no new messages, by number, as RFC 3339."""
    since: dict[int, float] = {}
    for queue in observed.own_queues:
        number = queue.tags.get(GENERATION_TAG, "")
        if queue.fenced and number.isdigit():
            since[int(number)] = max(since.get(int(number), 0.0), queue.modified_at)
    return {number: rfc3339(since[number]) for number in numbers if number in since}


def draining_rows(queues: Iterable[ObservedQueue]) -> dict[str, str]:
    """What queues that run empty still hold, in words, by the name of their row in the status."""
    totals: dict[str, int] = {}
    for queue in queues:
        row = _row_of(queue.tags)
        if row:
            totals[row] = totals.get(row, 0) + queue.counts.total
    return {row: "runs empty; holds messages still" if total else "is empty; watched a while before it is deleted"
            for row, total in totals.items()}  # fmt: skip


def next_look(found: RouteObservation, failures: int, pace: ReconcileIntervals) -> float:
    """Seconds until the route is looked at again, unless something happens before.

    Args:
        found: this time.
        failures: looks in a row that failed, this one included.
        pace: the operator's.
    """
    if found.route is None:
        return pace.resync_seconds
    if not found.failures:
        draining = found.settled is not None and bool(found.settled.draining)
        return pace.busy_seconds if draining or waits_for_pods(found) else pace.resync_seconds
    if all(is_terminal(error) for error in found.failures):
        return pace.terminal_retry_seconds
    backoff = min(pace.retry_most_seconds, pace.retry_seconds * 2.0 ** min(failures - 1, 30))
    asked = [error.retry_after_seconds for error in found.failures if isinstance(error, ProvisionError)]
    return max(backoff, min(pace.retry_most_seconds, max((each for each in asked if each), default=0.0)))


def waits_for_pods(found: RouteObservation) -> bool:
    """Whether there are Deployments whose Pods do not run as they should: their Pods say why, and no event tells of it."""
    return bool(found.deployments) and not workers_available(found.deployments, found.wanted_deployments).holds


def is_terminal(error: Failure) -> bool:
    """Whether only a change of the route, or a person, can help."""
    if isinstance(error, ProvisionError):
        return not error.retryable
    return isinstance(error, ForeignObjectError) or (isinstance(error, KubeRefusedError) and error.status in (400, 422))


def wants_finalizer(document: Mapping[str, Any]) -> bool:
    """Whether the route's deletion must wait for the operator: only where something is to be deleted on AWS."""
    return bool(document["spec"].get("deletionPolicy") == "Delete")


def has_finalizer(document: Mapping[str, Any]) -> bool:
    """Whether it does."""
    return FINALIZER in (document["metadata"].get("finalizers") or ())


def rfc3339(seconds: float) -> str:
    """Epoch seconds as the API server writes times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- one condition each


def _queues(settled: ProvisionResult | None, error: ProvisionError | None) -> Verdict:
    if settled is not None and settled.resolved is not None:
        queues = len(settled.wanted.queues)
        if settled.draining:
            return good(
                QUEUES_READY, "Draining", f"{queues} queues; {len(settled.draining)} older ones run empty first"
            )
        return good(QUEUES_READY, "Provisioned", f"{queues} queues")
    if error is None:
        return unknown(QUEUES_READY)
    if error.problem.service == "dynamodb":
        return unknown(QUEUES_READY, "Pending", "the table comes first")
    return _failed(QUEUES_READY, error)


def _tables(settled: ProvisionResult | None, error: ProvisionError | None) -> Verdict:
    if error is not None and error.problem.service != "sqs":
        return _failed(TABLES_READY, error)
    if settled is None or (error is not None and settled.observed.table is None):
        return unknown(TABLES_READY)
    return good(TABLES_READY, "Active", f"table {settled.wanted.table.name}")


def _failed(type_: str, error: ProvisionError) -> Verdict:
    passing = error.retry_after_seconds is not None and error.retry_after_seconds < _FOR_HUMANS
    if passing and reason_of(error) != "TableCreating":
        return unknown(type_, reason_of(error), told(error))
    return bad(type_, reason_of(error), told(error))


def _workers(found: RouteObservation) -> Verdict:
    error = found.apply_error
    if isinstance(error, ForeignObjectError):
        return bad("WorkersAvailable", "ObjectNotOwned", str(error))
    if isinstance(error, KubeRefusedError):
        return bad("WorkersAvailable", "Refused", error.message)
    if not found.deployments and not found.wanted_deployments:
        return unknown("WorkersAvailable", "Pending", "queues and table come first")
    return workers_available(found.deployments, found.wanted_deployments, found.pods)


def _suspended(route: Route) -> Verdict:
    held = [name for name in ("delivery", "ingest") if getattr(route.suspend, name)]
    if held:
        return good(SUSPENDED, "SuspendedBySpec", f"{' and '.join(held)} held back; messages stay where they are")
    return bad(SUSPENDED, "NotSuspended", "")


def _drifted(found: RouteObservation) -> Verdict:
    if found.corrected:
        return good(DRIFTED, "Corrected", "put right: " + ", ".join(found.corrected))
    return bad(DRIFTED, "NoDrift", "")


def drift_of(settled: ProvisionResult) -> list[str]:
    """What a look found changed or gone on AWS, and put right."""
    return [
        f"{each.action.resource} ({', '.join(drift.attribute for drift in each.action.drift) or 'was gone'})"
        for each in settled.done
        if each.action.drift or each.action.operation in ("CreateQueue", "CreateTable")
    ]


def is_whole(status: Mapping[str, Any], generation: int) -> bool:
    """Whether everything of a route was made on AWS when it was last looked at, for this generation of its spec."""
    held = {
        each["type"]
        for each in status.get("conditions") or ()
        if each["status"] == "True" and each.get("observedGeneration") == generation
    }
    return {QUEUES_READY, TABLES_READY} <= held


def _backlog(settled: ProvisionResult | None) -> Verdict:
    if settled is None:
        return unknown(BACKLOG_LIMIT)
    full = [queue.name for queue in settled.observed.own_queues if queue.counts.total > NEAR_LIMIT]
    if full:
        return good(
            BACKLOG_LIMIT, "NearLimit",
            f"{', '.join(full)}: SQS looks for deliverable subjects in the first 120,000 messages of a queue only",
        )  # fmt: skip
    return bad(BACKLOG_LIMIT, "BelowLimit", "")


def _row_of(tags: Mapping[str, str]) -> str | None:
    if RUNG_TAG in tags:
        return f"rung-{tags[RUNG_TAG]}"
    return f"{tags[QUEUE_TAG]}.g{tags[GENERATION_TAG]}" if {QUEUE_TAG, GENERATION_TAG} <= tags.keys() else None
