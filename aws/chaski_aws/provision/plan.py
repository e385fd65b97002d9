"""What has to be done so that what is there becomes what must be. Pure.

The order keeps every stop in between harmless: first everything new is made, then what differs is mended, then queues
that take no new messages any more are fenced, and last the table gets what it takes only once it is active. Nothing is
deleted by `plan`; `plan_drained` and `plan_drop` do that, of what carries our tags and nothing else.
"""

from collections.abc import Collection, Iterator, Mapping

from chaski_aws.provision import send_block
from chaski_aws.provision.actions import Action, Drift
from chaski_aws.provision.desired import Desired, DesiredQueue
from chaski_aws.provision.errors import NotOursError, Problem
from chaski_aws.provision.settings import (
    GENERATION_TAG,
    ORDERING_TAG,
    ProvisionSettings,
    is_ours,
    owner_of,
    told_owner,
)
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_aws.provision.tables import plan_table_drop, plan_table_late, plan_table_now
from chaski_core.errors import RouteConflictError
from chaski_core.route.model import Route

_ABSENT_MEANS_NONE = ("KmsMasterKeyId", "RedrivePolicy")  # any other attribute that is not told is not this service's
_TOGETHER = (("DeduplicationScope", "FifoThroughputLimit"), ("KmsMasterKeyId", "SqsManagedSseEnabled"))


def plan(wanted: Desired, observed: Observed) -> tuple[Action, ...]:
    """What to do, in order; empty where everything is as it must be.

    Raises:
        NotOursError: something of a wanted name is there and does not carry our tags.
        ProvisionError: the table can't become what it must be, or not now.
        RouteConflictError: there are queues of this route under another `ordering`.
    """
    refuse_foreign(wanted, observed)
    _refuse_another_ordering(wanted, observed)
    return (
        *plan_table_now(wanted.table, observed.table),
        *(_create(queue) for queue in wanted.queues if queue.name not in observed.queues),
        *_mend(wanted, observed),
        *(fence_action(queue) for queue in observed.own_queues if queue.name not in wanted.names and not queue.fenced),
        *plan_table_late(wanted.table, observed.table),
    )


def plan_drained(wanted: Desired, observed: Observed, drained: Collection[str]) -> tuple[Action, ...]:
    """Deletes what takes no new messages and is empty: older generations as a whole, and retired rungs.

    Args:
        wanted: what must be there; none of it is deleted.
        observed: what is there.
        drained: names of the queues that `draining.is_drained` says are empty for good.
    """
    old = [queue for queue in observed.own_queues if queue.name not in wanted.names]
    undrained = {
        queue.tags[GENERATION_TAG] for queue in old if GENERATION_TAG in queue.tags and queue.name not in drained
    }
    return tuple(
        _delete(queue)
        for queue in old
        if queue.name in drained and queue.fenced and queue.tags.get(GENERATION_TAG) not in undrained
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
    if table.tags is not None and not is_ours(table.tags, route, settings):
        raise _foreign("dynamodb", "DeleteTable", route, {table.name: table.tags})
    return (*queues, *plan_table_drop(table))


def refuse_foreign(wanted: Desired, observed: Observed) -> None:
    """Raises NotOursError where something of a wanted name is there that does not carry our tags."""
    queues = {
        name: observed.queues[name].tags
        for name in sorted(wanted.names)
        if name in observed.queues and name not in observed.ours
    }
    if queues:
        raise _foreign("sqs", "CreateQueue", wanted.route, queues)
    table = observed.table
    if table is None or not table.tags:  # one that was just made may be told without tags: plan_table_now waits
        untagged = table is not None and table.tags is not None and table.status != "CREATING"
        if untagged:
            raise _foreign("dynamodb", "CreateTable", wanted.route, {wanted.table.name: {}})
        return
    if not is_ours(table.tags, wanted.route, wanted.settings):
        raise _foreign("dynamodb", "CreateTable", wanted.route, {table.name: table.tags})


def _refuse_another_ordering(wanted: Desired, observed: Observed) -> None:
    ordering = wanted.route.ordering.value
    others = {queue.tags.get(ORDERING_TAG, ordering) for queue in observed.own_queues} - {ordering}
    if others:
        was = min(others)
        raise RouteConflictError(
            f"{wanted.route.key}: spec.ordering is {ordering}, but its queues were made for {was}, and the ordering of a "
            f"route can't be changed: set it back to {was}, or give the route another name"
        )


def fence_action(queue: ObservedQueue) -> Action:
    """Denies SendMessage on a queue to everybody."""
    policy = send_block.fenced(queue.attributes.get("Policy"), queue.arn)
    return _set(queue, {"Policy": policy}, "fence: deny SendMessage to everybody", ())


def unfence_action(queue: ObservedQueue) -> Action:
    """Takes the fence away again; other statements of the policy stay."""
    return _set(queue, {"Policy": send_block.unfenced(queue.attributes.get("Policy"))}, "take the fence away", ())


def _create(queue: DesiredQueue) -> Action:
    attributes = {name: value for name, value in queue.attributes.items() if value != ""}
    request = {"QueueName": queue.name, "Attributes": attributes, "tags": dict(queue.tags)}
    return Action("sqs", "CreateQueue", queue.name, request, f"make {queue.what}")


def _mend(wanted: Desired, observed: Observed) -> Iterator[Action]:
    for queue in wanted.queues:
        there = observed.queues.get(queue.name)
        if there is None:
            continue
        drift = attribute_drift(queue, there)
        if drift:
            yield _set(there, _changes(queue, drift), "set attributes", drift)
        missing = {name: value for name, value in queue.tags.items() if there.tags.get(name) != value}
        if missing:
            drift = tuple(Drift(f"tag {name}", there.tags.get(name, ""), value) for name, value in missing.items())
            yield Action("sqs", "TagQueue", queue.name, {"QueueUrl": there.url, "Tags": missing}, "tag", drift)
        if send_block.holds_fence(there.attributes.get("Policy")):
            yield unfence_action(there)


def attribute_drift(queue: DesiredQueue, there: ObservedQueue) -> tuple[Drift, ...]:
    """The attributes that are not what they must be. Values are texts: `true` and `True`, `5` and `05` are the same."""
    found = []
    for name, value in queue.attributes.items():
        was = there.attributes.get(name, "" if name in _ABSENT_MEANS_NONE else None)
        if was is not None and _meaning(was) != _meaning(value):
            found.append(Drift(name, was, value))
    return tuple(found)


def _changes(queue: DesiredQueue, drift: tuple[Drift, ...]) -> dict[str, str]:
    names = {each.attribute for each in drift}
    for group in _TOGETHER:  # SQS judges these together, and only those in the same call
        if names.intersection(group):
            names.update(group)
    return {name: value for name, value in queue.attributes.items() if name in names and name != "FifoQueue"}


def _meaning(value: str) -> str | int:
    return int(value) if value.isdecimal() else value.lower() if value.lower() in ("true", "false") else value


def _set(queue: ObservedQueue, attributes: dict[str, str], told: str, drift: tuple[Drift, ...]) -> Action:
    request = {"QueueUrl": queue.url, "Attributes": attributes}
    return Action("sqs", "SetQueueAttributes", queue.name, request, told, drift)


def _delete(queue: ObservedQueue) -> Action:
    return Action("sqs", "DeleteQueue", queue.name, {"QueueUrl": queue.url}, "delete")


def _foreign(service: str, operation: str, route: Route, found: Mapping[str, Mapping[str, str]]) -> NotOursError:
    reason = "; ".join(f"{name}: {told_owner(tags)}" for name, tags in found.items())
    owners = {owner_of(tags, route) for tags in found.values()}
    fix = "rename the route; to hand something over, give it the tags by hand (docs/provisioning.md)"
    if len(owners) == 1 and (owner := owners.pop()) is not None:
        fix = (
            f'if these are yours, installation: set it to "{owner}" to keep using these (the chart\'s `installation`, the '
            f"operator's --installation, --owner of chaski provision); if they are another's, {fix}"
        )
    return NotOursError(Problem(service, operation, ", ".join(found), "NotOurs", reason, None, fix))
