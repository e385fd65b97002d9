"""What is there, as values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaski_aws.provision.generations import KnownGeneration, generations_of
from chaski_aws.provision.send_block import is_fenced
from chaski_core.ports import QueueCounts


@dataclass(frozen=True, slots=True)
class ObservedQueue:
    """A queue as SQS tells it."""

    name: str
    url: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self.attributes.get("QueueArn", "")

    @property
    def fenced(self) -> bool:
        """Whether its policy denies SendMessage to everybody."""
        return is_fenced(self.attributes.get("Policy"))

    @property
    def modified_at(self) -> float:
        """Epoch seconds of the last change of its attributes."""
        return float(self.attributes.get("LastModifiedTimestamp", "0"))

    @property
    def counts(self) -> QueueCounts:
        """How many messages there are; approximate, and up to a minute old."""
        return counts_of(self.attributes)


def counts_of(attributes: Mapping[str, str]) -> QueueCounts:
    """The counts among a queue's attributes."""
    return QueueCounts(
        visible=int(attributes.get("ApproximateNumberOfMessages", "0")),
        in_flight=int(attributes.get("ApproximateNumberOfMessagesNotVisible", "0")),
        delayed=int(attributes.get("ApproximateNumberOfMessagesDelayed", "0")),
    )


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """A table as DynamoDB tells it. None: this DynamoDB (a stand-in) has no such thing."""

    name: str
    status: str  # CREATING, ACTIVE, UPDATING, DELETING
    description: Mapping[str, Any]  # the answer of DescribeTable
    tags: Mapping[str, str] | None
    time_to_live: Mapping[str, Any]  # TimeToLiveDescription; empty while the table is not active
    point_in_time_recovery: bool | None

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.description.get("TableArn", ""))

    @property
    def protected(self) -> bool:
        """Whether DeleteTable is refused."""
        return bool(self.description.get("DeletionProtectionEnabled"))


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything of one route that is there."""

    queues: Mapping[str, ObservedQueue] = field(default_factory=dict)  # by name; whoever's they are
    table: ObservedTable | None = None
    ours: frozenset[str] = frozenset()  # names of the queues that carry our tags for this route

    @property
    def own_queues(self) -> tuple[ObservedQueue, ...]:
        """The queues that carry our tags, by name."""
        return tuple(self.queues[name] for name in sorted(self.ours))

    @property
    def generations(self) -> tuple[KnownGeneration, ...]:
        """What the tags of our queues say about the maps there are, oldest first."""
        return generations_of({queue.url: queue.tags for queue in self.own_queues})
