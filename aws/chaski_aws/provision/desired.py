"""What a route needs on AWS, in full. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaski_aws.dynamodb.table import table_definition
from chaski_aws.provision.generations import KnownGeneration, number_for
from chaski_aws.provision.settings import (
    GENERATION_TAG,
    MAP_TAG,
    ORDERING_TAG,
    PARTITION_TAG,
    QUEUE_TAG,
    RUNG_TAG,
    ProvisionSettings,
    ownership,
)
from chaski_core.ports import RETENTION_SECONDS
from chaski_core.retry.ladder import Rung
from chaski_core.route.model import Ordering, Route
from chaski_core.route.resolved import map_fingerprint, queue_name, rung_queue_name, table_name

VISIBILITY_SECONDS = (
    120  # below the five minutes of deduplication, so that a hop repeated after a crash falls into them
)
MAX_MESSAGE_BYTES = 327_680  # a message of 262,144 bytes with its metadata


@dataclass(frozen=True, slots=True)
class DesiredQueue:
    """A queue as it must be."""

    name: str
    attributes: Mapping[str, str]  # all that are ours to say; "" means absent
    tags: Mapping[str, str]
    queue: str | None = None  # of a partition: the route's queue
    rung: Rung | None = None

    @property
    def what(self) -> str:
        """In words: `partition 0 of messages` or `rung fast`."""
        if self.rung is not None:
            return f"rung {self.rung.name}"
        return f"partition {self.tags[PARTITION_TAG]} of {self.queue}"


@dataclass(frozen=True, slots=True)
class DesiredTable:
    """The table as it must be."""

    name: str
    definition: Mapping[str, Any]  # fields of CreateTable, tags left out
    tags: Mapping[str, str]
    point_in_time_recovery: bool
    deletion_protection: bool


@dataclass(frozen=True, slots=True)
class Desired:
    """All that a route needs."""

    route: Route
    settings: ProvisionSettings
    generation: int  # that takes new messages
    queues: tuple[DesiredQueue, ...]  # partitions in the route's order, then rungs
    table: DesiredTable

    @property
    def names(self) -> frozenset[str]:
        """Names of the queues."""
        return frozenset(queue.name for queue in self.queues)


def desired(route: Route, known: Sequence[KnownGeneration], settings: ProvisionSettings) -> Desired:
    """What must be there. `known`: the generations that there are already, oldest first."""
    number = number_for(route, known)
    rungs = route.retry.rungs if route.ordering is Ordering.RELAXED else ()
    queues = (
        *(
            _partition(route, settings, number, queue.name, index)
            for queue in route.queues
            for index in range(queue.partitions)
        ),
        *(_rung(route, settings, rung) for rung in rungs),
    )
    return Desired(route, settings, number, queues, _table(route, settings))


def _partition(route: Route, settings: ProvisionSettings, number: int, queue: str, index: int) -> DesiredQueue:
    tags = {
        QUEUE_TAG: queue,
        PARTITION_TAG: str(index),
        GENERATION_TAG: str(number),
        MAP_TAG: map_fingerprint(route),
    }
    made = _queue(queue_name(route, queue, number, index), route, settings, 0, tags)
    return replace(made, queue=queue)


def _rung(route: Route, settings: ProvisionSettings, rung: Rung) -> DesiredQueue:
    made = _queue(rung_queue_name(route, rung.name), route, settings, rung.delay_seconds, {RUNG_TAG: rung.name})
    return replace(made, rung=rung)


def _queue(
    name: str, route: Route, settings: ProvisionSettings, delay_seconds: int, tags: Mapping[str, str]
) -> DesiredQueue:
    attributes = {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "ContentBasedDeduplication": "false",
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
        "DelaySeconds": str(delay_seconds),
        "RedrivePolicy": "",  # SQS would move a message out of its order
    } | _encryption(settings)
    return DesiredQueue(name, attributes, {**_common_tags(route, settings), **tags})


def _common_tags(route: Route, settings: ProvisionSettings) -> dict[str, str]:
    return {**settings.tags, **ownership(route, settings), ORDERING_TAG: route.ordering.value}


def _encryption(settings: ProvisionSettings) -> dict[str, str]:
    if settings.kms_key_id is None:
        return {"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"}
    return {"KmsMasterKeyId": settings.kms_key_id, "SqsManagedSseEnabled": "false"}


def _table(route: Route, settings: ProvisionSettings) -> DesiredTable:
    name = table_name(route)
    return DesiredTable(
        name=name,
        definition=table_definition(name),
        tags=_common_tags(route, settings),
        point_in_time_recovery=settings.point_in_time_recovery,
        deletion_protection=settings.deletion_protection,
    )
