"""Plans the changes that turn the observed state into the desired one, and decides when a queue is drained. Pure.

The order makes every interruption harmless: first missing resources are created, then differences are corrected, then
sends to retired queues are blocked, and last come the settings of the table that need it active. `plan` deletes
nothing; `plan_drained` and `plan_drop` do, and only what carries our tags.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaski_aws.provision.actions import BLOCK_SENDS, Action, Drift
from chaski_aws.provision.desired import Desired, DesiredQueue, ProvisionSettings
from chaski_aws.provision.errors import NotOursError, ProvisionFailure
from chaski_aws.provision.state import (
    GENERATION_TAG,
    ORDERING_TAG,
    Observed,
    ObservedQueue,
    describe_owner,
    has_block,
    is_ours,
    owner_of,
    with_block,
    without_block,
)
from chaski_aws.provision.table_plan import plan_active_table, plan_table, plan_table_deletion
from chaski_core.errors import RouteConflictError
from chaski_core.route.model import Route

MIN_SAMPLES = 3
OVER_SECONDS = 60.0
BLOCK_SECONDS = 60.0  # API_SetQueueAttributes: a policy takes up to 60 seconds to be in force
_ABSENT_MEANS_NONE = ("KmsMasterKeyId", "RedrivePolicy")  # any other absent attribute is not supported by this service
_SET_TOGETHER = (("DeduplicationScope", "FifoThroughputLimit"), ("KmsMasterKeyId", "SqsManagedSseEnabled"))


def plan(wanted: Desired, observed: Observed) -> tuple[Action, ...]:
    """The changes to make, in order; empty where the desired state is reached.

    Raises:
        NotOursError: a resource of a desired name exists and does not carry our tags.
        ProvisionError: the table can't be changed to the desired state, or not yet.
        RouteConflictError: queues of this route exist with another `ordering`.
    """
    refuse_foreign(wanted, observed)
    _refuse_another_ordering(wanted, observed)
    return (
        *plan_table(wanted.table, observed.table),
        *(_create(queue) for queue in wanted.queues if queue.name not in observed.queues),
        *_correct(wanted, observed),
        *(block_sends(each) for each in observed.own_queues if each.name not in wanted.names and not each.is_blocked),
        *plan_active_table(wanted.table, observed.table),
    )


def plan_drained(wanted: Desired, observed: Observed, drained: Collection[str]) -> tuple[Action, ...]:
    """Deletes drained queues: older generations as a whole, and retired rungs.

    Args:
        wanted: the desired state; none of its queues is deleted.
        observed: the current state.
        drained: names of the queues for which `is_drained` is true.
    """
    old = [queue for queue in observed.own_queues if queue.name not in wanted.names]
    undrained = {
        queue.tags[GENERATION_TAG] for queue in old if GENERATION_TAG in queue.tags and queue.name not in drained
    }
    return tuple(
        _delete(queue)
        for queue in old
        if queue.name in drained and queue.is_blocked and queue.tags.get(GENERATION_TAG) not in undrained
    )


def plan_drop(
    route: Route, settings: ProvisionSettings, observed: Observed, *, with_table: bool = True
) -> tuple[Action, ...]:
    """Deletes everything of a route that carries our tags, messages and dead letters included.

    Raises:
        NotOursError: the table of that name does not carry our tags.
    """
    queues = tuple(_delete(queue) for queue in observed.own_queues)
    if not with_table or observed.table is None:
        return queues
    table = observed.table
    if table.tags is not None and not is_ours(table.tags, route, settings.owner):
        raise _foreign("dynamodb", "DeleteTable", route, {table.name: table.tags})
    return (*queues, *plan_table_deletion(table))


def refuse_foreign(wanted: Desired, observed: Observed) -> None:
    """Raises NotOursError where a resource of a desired name, or of this route, exists that does not carry our tags."""
    queues = {name: observed.queues[name].tags for name in sorted(observed.queues) if name not in observed.ours}
    if queues:
        raise _foreign("sqs", "CreateQueue", wanted.route, queues)
    table = observed.table
    if table is None or not table.tags:  # a table that is being created may be listed without tags: plan_table waits
        untagged = table is not None and table.tags is not None and table.status != "CREATING"
        if untagged:
            raise _foreign("dynamodb", "CreateTable", wanted.route, {wanted.table.name: {}})
        return
    if not is_ours(table.tags, wanted.route, wanted.settings.owner):
        raise _foreign("dynamodb", "CreateTable", wanted.route, {table.name: table.tags})


def _refuse_another_ordering(wanted: Desired, observed: Observed) -> None:
    ordering = wanted.route.ordering.value
    others = {queue.tags.get(ORDERING_TAG, ordering) for queue in observed.own_queues} - {ordering}
    if others:
        was = min(others)
        raise RouteConflictError(
            f"{wanted.route.key}: spec.ordering is {ordering}, but its queues were created for {was}; the ordering of a "
            f"route can't be changed: set it back to {was}, or rename the route"
        )


def block_sends(queue: ObservedQueue) -> Action:
    """Denies SendMessage on a queue to every principal."""
    policy = with_block(queue.attributes.get("Policy"), queue.arn)
    return _set(queue, {"Policy": policy}, BLOCK_SENDS, ())


def unblock_sends(queue: ObservedQueue) -> Action:
    """Removes the send block; other statements of the policy stay."""
    return _set(queue, {"Policy": without_block(queue.attributes.get("Policy"))}, "unblock sends", ())


def _create(queue: DesiredQueue) -> Action:
    attributes = {name: value for name, value in queue.attributes.items() if value != ""}
    request = {"QueueName": queue.name, "Attributes": attributes, "tags": dict(queue.tags)}
    return Action("sqs", "CreateQueue", queue.name, request, f"create {queue.label}")


def _correct(wanted: Desired, observed: Observed) -> Iterator[Action]:
    for queue in wanted.queues:
        found = observed.queues.get(queue.name)
        if found is None:
            continue
        drift = attribute_drift(queue, found)
        if drift:
            yield from _set_attributes(queue, found, drift)
        missing = {name: value for name, value in queue.tags.items() if found.tags.get(name) != value}
        if missing:
            drift = tuple(Drift(f"tag {name}", found.tags.get(name, ""), value) for name, value in missing.items())
            yield Action("sqs", "TagQueue", queue.name, {"QueueUrl": found.url, "Tags": missing}, "tag", drift)
        if has_block(found.attributes.get("Policy")):
            yield unblock_sends(found)


def _set_attributes(queue: DesiredQueue, found: ObservedQueue, drift: tuple[Drift, ...]) -> Iterator[Action]:
    changes = _changes(queue, drift)
    if not found.attributes.get("KmsMasterKeyId") and not changes.get("KmsMasterKeyId"):
        changes.pop("KmsMasterKeyId", None)  # nothing to remove
    if changes.get("KmsMasterKeyId") != "":
        yield _set(found, changes, "set attributes", drift)
        return
    # SQS refuses its own keys while the queue has a KMS key: "You can use one type of server-side encryption (SSE) at one time".
    managed = {"SqsManagedSseEnabled": changes.pop("SqsManagedSseEnabled")}
    first = tuple(each for each in drift if each.attribute not in managed)
    yield _set(found, changes, "set attributes, remove the KMS key", first)
    yield _set(found, managed, "encrypt with SQS's own keys", tuple(each for each in drift if each not in first))


def attribute_drift(queue: DesiredQueue, found: ObservedQueue) -> tuple[Drift, ...]:
    """The attributes that differ. Values are compared by meaning: `true` equals `True`, `5` equals `05`."""
    drift = []
    for name, value in queue.attributes.items():
        was = found.attributes.get(name, "" if name in _ABSENT_MEANS_NONE else None)
        if was is not None and _meaning(was) != _meaning(value):
            drift.append(Drift(name, was, value))
    return tuple(drift)


def _changes(queue: DesiredQueue, drift: tuple[Drift, ...]) -> dict[str, str]:
    names = {each.attribute for each in drift}
    for group in _SET_TOGETHER:  # SQS validates these together, within one call only
        if names.intersection(group):
            names.update(group)
    return {name: value for name, value in queue.attributes.items() if name in names and name != "FifoQueue"}


def _meaning(value: str) -> str | int:
    return int(value) if value.isdecimal() else value.lower() if value.lower() in ("true", "false") else value


def _set(queue: ObservedQueue, attributes: dict[str, str], description: str, drift: tuple[Drift, ...]) -> Action:
    request = {"QueueUrl": queue.url, "Attributes": attributes}
    return Action("sqs", "SetQueueAttributes", queue.name, request, description, drift)


def _delete(queue: ObservedQueue) -> Action:
    return Action("sqs", "DeleteQueue", queue.name, {"QueueUrl": queue.url}, "delete")


def _foreign(service: str, operation: str, route: Route, found: Mapping[str, Mapping[str, str]]) -> NotOursError:
    reason = "; ".join(f"{name}: {describe_owner(tags)}" for name, tags in found.items())
    owners = {owner_of(tags, route) for tags in found.values()}
    fix = "rename the route; to hand resources over, set their tags by hand (docs/provisioning.md)"
    if len(owners) == 1 and (owner := owners.pop()) is not None:
        fix = (
            f'if these are yours, installation: set it to "{owner}" to keep using these (the chart\'s `installation`, the '
            f"operator's --installation, --owner of chaski provision); if they belong to another installation, {fix}"
        )
    return NotOursError(ProvisionFailure(service, operation, ", ".join(found), "NotOurs", reason, None, fix))


# ---- draining


@dataclass(frozen=True, slots=True)
class DrainRule:
    """How often and for how long a queue must be seen empty, and how long a send block takes to be in force.

    A single zero proves nothing: counts are approximate and up to a minute old, and a policy takes up to a minute to be
    in force everywhere.
    """

    samples: int = MIN_SAMPLES
    over_seconds: float = OVER_SECONDS
    block_seconds: float = BLOCK_SECONDS


@dataclass(frozen=True, slots=True)
class DrainSample:
    """The number of messages in a queue at one time."""

    at: float  # epoch seconds
    total: int  # visible, in flight and delayed
    blocked_since: float | None  # epoch seconds, or later than the real time; None: sends are not blocked


def drain_sample(queue: ObservedQueue, now: float) -> DrainSample:
    """A sample of an observed queue. Its last change counts as that of the block, which can only be too late."""
    return DrainSample(now, queue.counts.total, queue.modified_at if queue.is_blocked else None)


def is_drained(samples: Sequence[DrainSample], rule: DrainRule | None = None) -> bool:
    """Whether the last samples, at least 3 over at least 60 s, all found an empty queue whose block was in force."""
    rule = rule or DrainRule()
    empty: list[DrainSample] = []
    for sample in reversed(samples):
        if sample.total or sample.blocked_since is None or sample.at < sample.blocked_since + rule.block_seconds:
            break
        empty.append(sample)
    return len(empty) >= rule.samples and empty[0].at - empty[-1].at >= rule.over_seconds


def seconds_until_drained(samples: Iterable[DrainSample], now: float) -> float:
    """The shortest time after which queues that are empty now can count as drained."""
    blocks = [each.blocked_since + BLOCK_SECONDS for each in samples if each.blocked_since is not None]
    return max(0.0, max(blocks, default=now) - now) + OVER_SECONDS
