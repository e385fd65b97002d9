"""The queues and the table that a route must have, and the resolved route that names them. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chaski_aws import names
from chaski_aws.dynamodb.table import table_definition
from chaski_aws.provision.state import (
    GENERATION_TAG,
    MAP_TAG,
    ORDERING_TAG,
    PARTITION_TAG,
    QUEUE_TAG,
    RUNG_TAG,
    KnownGeneration,
    Observed,
    ObservedQueue,
    ownership_tags,
)
from chaski_core.ports import MAX_QUEUED_BYTES, RETENTION_SECONDS
from chaski_core.retry.policy import Rung
from chaski_core.route import resolved as earlier
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import Generation, ResolvedRoute, RungQueue, map_fingerprint

#: As `spec.encryption.kmsKeyArn` in crds/chaskiroutes.yaml.
KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
_RESERVED_TAGS = ("aws:", "chaski.dev/")
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TAG_NAME, _TAG_VALUE = re.compile(r"[\w .:/=+@-]{1,128}"), re.compile(r"[\w .:/=+@-]{0,256}")
# Below the five minutes of SQS's deduplication, so that a hop that is repeated after a crash is still deduplicated.
VISIBILITY_SECONDS = 120


def tag_fault(name: str, value: str) -> str | None:
    """Why an additional tag can't be set; None: it can."""
    if name.lower().startswith(_RESERVED_TAGS):
        return "the prefixes aws: and chaski.dev/ are reserved"
    if not _TAG_NAME.fullmatch(name) or not _TAG_VALUE.fullmatch(value):
        return "letters, digits, spaces and . : / = + - @ _ are allowed, 1 to 128 in a name and up to 256 in a value"
    return None


@dataclass(frozen=True, slots=True)
class ProvisionSettings:
    """What is the same for all routes of one installation."""

    owner: str  # names the installation: two that share an account never touch each other's. No default: it would be shared
    tags: Mapping[str, str] = field(default_factory=dict)  # additional, for bills and policies; never removed
    label_tags: tuple[str, ...] = ()  # labels of a route that are tags too, before those of the same name in `tags`
    kms_key: str | None = None  # unless the route names one; "": AWS's own keys; None: what is found is kept
    point_in_time_recovery: bool = True
    deletion_protection: bool = True


@dataclass(frozen=True, slots=True)
class DesiredQueue:
    """The desired state of a queue."""

    name: str
    attributes: Mapping[str, str]  # all that Chaski sets; "" means absent
    tags: Mapping[str, str]
    earlier_name: str  # in releases that did not begin names with a hash of the namespace
    queue: str | None = None  # of a partition: the name of the route's queue
    rung: Rung | None = None

    @property
    def label(self) -> str:
        """For people: `partition 0 of messages` or `rung fast`."""
        if self.rung is not None:
            return f"rung {self.rung.name}"
        return f"partition {self.tags[PARTITION_TAG]} of {self.queue}"


@dataclass(frozen=True, slots=True)
class DesiredTable:
    """The desired state of the table."""

    name: str
    definition: Mapping[str, Any]  # fields of CreateTable, without tags
    tags: Mapping[str, str]
    point_in_time_recovery: bool
    deletion_protection: bool
    kms_key: str | None = None  # ARN; "": DynamoDB's own key; None: what is found is kept


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired state of everything that a route needs."""

    route: Route
    settings: ProvisionSettings
    generation: int  # the one that takes new messages
    queues: tuple[DesiredQueue, ...]  # partitions in the route's order, then rungs
    table: DesiredTable

    @property
    def names(self) -> frozenset[str]:
        return frozenset(queue.name for queue in self.queues)


def desired(route: Route, observed: Observed, settings: ProvisionSettings) -> Desired:
    """The desired state of a route, given what exists of it already.

    What exists keeps its name, also one of an earlier release, or of the installation that it was taken over from. What
    is created gets a name that begins with a hash of installation and namespace.
    """
    known = observed.generations
    number = number_for(route, known)
    current = known[-1] if known and known[-1].number == number else KnownGeneration(number, _map_tags(route)[1], {})
    rungs = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    queues = (
        *(
            _partition(route, settings, observed, current, _Place(queue.name, index))
            for queue in route.queues
            for index in range(queue.partitions)
        ),
        *(_rung(route, settings, rung, observed) for rung in rungs),
    )
    return Desired(route, settings, number, queues, _table(route, settings, observed))


def number_for(route: Route, known: Sequence[KnownGeneration]) -> int:
    """The generation that takes new messages: the newest one if it has the route's map, else the next number."""
    if not known:
        return 1
    newest = known[-1]
    return newest.number if newest.map in _map_tags(route) else newest.number + 1


def _map_tags(route: Route) -> tuple[str, str]:
    """The tag of a generation with the route's map: of one that an earlier release created, and of one that this one does.

    They differ, so that an earlier release, which would create queues with other names, creates them as another
    generation, and drains this one.
    """
    fingerprint = map_fingerprint(route)
    return fingerprint, f"{fingerprint}.2"


@dataclass(frozen=True, slots=True)
class _Place:
    """One partition of a queue."""

    queue: str
    index: int


def _partition(
    route: Route, settings: ProvisionSettings, observed: Observed, current: KnownGeneration, place: _Place
) -> DesiredQueue:
    queue, index = place.queue, place.index
    tags = {
        QUEUE_TAG: queue,
        PARTITION_TAG: str(index),
        GENERATION_TAG: str(current.number),
        MAP_TAG: current.map,
    }
    url = current.queues.get(queue, {}).get(index)
    name = names.queue_name(route, settings.owner, queue, current.number, index) if url is None else _name_of(url)
    earlier_name = earlier.queue_name(route, queue, current.number, index)
    made = _queue(name, route, settings, 0, observed)
    return replace(made, tags={**made.tags, **tags}, earlier_name=earlier_name, queue=queue)


def _rung(route: Route, settings: ProvisionSettings, rung: Rung, observed: Observed) -> DesiredQueue:
    # It keeps its queue in a new generation too: messages of one subject on two queues would lose their order.
    name = names.rung_queue_name(route, settings.owner, rung.name)
    found = sorted(each.name for each in observed.own_queues if each.tags.get(RUNG_TAG) == rung.name)
    if found and name not in found:
        name = found[0]
    made = _queue(name, route, settings, rung.queue_delay_seconds, observed)
    earlier_name = earlier.rung_queue_name(route, rung.name)
    return replace(made, tags={**made.tags, RUNG_TAG: rung.name}, earlier_name=earlier_name, rung=rung)


def _name_of(url: str) -> str:
    return url.rpartition("/")[2]


def _queue(
    name: str, route: Route, settings: ProvisionSettings, delay_seconds: int, observed: Observed
) -> DesiredQueue:
    attributes = {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "ContentBasedDeduplication": "false",
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "MaximumMessageSize": str(MAX_QUEUED_BYTES),
        "DelaySeconds": str(delay_seconds),
        "RedrivePolicy": "",  # SQS would move a message out of its order
    } | _encryption(_queue_key(name, route, settings, observed))
    return DesiredQueue(name, attributes, _common_tags(route, settings), name)


def label_tags(route: Route, settings: ProvisionSettings) -> dict[str, str]:
    """The labels of a route that are tags of its queues and its table."""
    labels = route.document["metadata"].get("labels") or {}
    return {name: labels[name] for name in settings.label_tags if name in labels}


def _common_tags(route: Route, settings: ProvisionSettings) -> dict[str, str]:
    additional = {**settings.tags, **label_tags(route, settings)}
    return {**additional, **ownership_tags(route, settings.owner), ORDERING_TAG: route.ordering.value}


def _encryption(key: str) -> dict[str, str]:
    if not key:
        return {"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}
    return {"KmsMasterKeyId": key, "SqsManagedSseEnabled": "false"}


def _declared_key(route: Route, settings: ProvisionSettings) -> str | None:
    """The KMS key that route or installation asks for; "": AWS's own keys; None: neither asks for anything."""
    key: str | None = (route.document["spec"].get("encryption") or {}).get("kmsKeyArn", settings.kms_key)
    return key


def _queue_key(name: str, route: Route, settings: ProvisionSettings, observed: Observed) -> str:
    # Without a declared key encryption is never weakened: an existing queue keeps its key, and a new one gets the route's.
    declared = _declared_key(route, settings)
    if declared is not None:
        return declared
    if name in observed.ours:
        return observed.queues[name].attributes.get("KmsMasterKeyId", "")
    return _found_key(observed)


def _found_key(observed: Observed) -> str:
    keys = (each.attributes.get("KmsMasterKeyId", "") for each in observed.own_queues)
    return next((key for key in keys if key), "")


def _table_key(route: Route, settings: ProvisionSettings, observed: Observed) -> str | None:
    # DynamoDB shows a key by its ARN, so that a key under another name could not be compared.
    key = _declared_key(route, settings)
    if key is None and observed.table is None:
        key = _found_key(observed) or None
    return key if key is None or not key or KEY_ARN.fullmatch(key) else None


def _table(route: Route, settings: ProvisionSettings, observed: Observed) -> DesiredTable:
    # An existing table keeps its name, in a new generation too: its dead letters can't move.
    name = observed.table.name if observed.table is not None else names.table_name(route, settings.owner)
    return DesiredTable(
        name=name,
        definition=table_definition(name),
        tags=_common_tags(route, settings),
        point_in_time_recovery=settings.point_in_time_recovery,
        deletion_protection=settings.deletion_protection,
        kms_key=_table_key(route, settings, observed),
    )


def resolved_route(
    wanted: Desired, observed: Observed, created: Mapping[str, str], deleted: Collection[str] = ()
) -> ResolvedRoute:
    """The document that ingest and workers read.

    Args:
        wanted: the desired state.
        observed: the state before the changes.
        created: URLs of the queues that were created since, by name.
        deleted: names of the queues that are deleted, or about to be.
    """
    urls = {name: queue.url for name, queue in observed.queues.items()} | dict(created)
    queues = {
        queue.name: tuple(urls[each.name] for each in wanted.queues if each.queue == queue.name)
        for queue in wanted.route.queues
    }
    deleted_urls = {observed.queues[name].url for name in deleted if name in observed.queues}
    older = (each.as_generation() for each in observed.generations if each.number != wanted.generation)
    draining = [
        each
        for each in older
        if any(url not in deleted_urls for partitions in each.queues.values() for url in partitions)
    ]
    rungs = tuple(RungQueue(queue.rung, urls[queue.name]) for queue in wanted.queues if queue.rung is not None)
    retired = tuple(
        _retired(queue)
        for queue in observed.own_queues
        if RUNG_TAG in queue.tags and queue.name not in wanted.names and queue.name not in deleted
    )
    return ResolvedRoute(
        wanted.route, (*draining, Generation(wanted.generation, queues)), rungs, retired, wanted.table.name
    )


def _retired(queue: ObservedQueue) -> RungQueue:
    return RungQueue(Rung(queue.tags[RUNG_TAG], int(queue.attributes.get("DelaySeconds", "0"))), queue.url)
