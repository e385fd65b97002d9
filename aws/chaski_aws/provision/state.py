"""The observed state of a route on AWS: its queues and table as values, read back from attributes and tags. Pure.

Includes the tags that mark ownership and the queue policy that blocks SendMessage.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaski_aws.sqs.queue import counts_of
from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import Generation

MANAGED_BY_TAG = "chaski.dev/managed-by"
OWNER_TAG = "chaski.dev/owner"
ROUTE_TAG = "chaski.dev/route"
QUEUE_TAG = "chaski.dev/queue"
PARTITION_TAG = "chaski.dev/partition"
GENERATION_TAG = "chaski.dev/generation"
MAP_TAG = "chaski.dev/map"
RUNG_TAG = "chaski.dev/rung"
ORDERING_TAG = "chaski.dev/ordering"
MANAGED_BY = "chaski"
BLOCK_SID = "ChaskiFence"
_POLICY_VERSION = "2012-10-17"
_EVERY_PRINCIPAL = ("*", {"AWS": "*"}, {"AWS": ["*"]})


# ---- ownership


def ownership_tags(route: Route, owner: str) -> dict[str, str]:
    """The tags that mark a resource as this installation's; a resource without all of them is never touched."""
    return {MANAGED_BY_TAG: MANAGED_BY, OWNER_TAG: owner, ROUTE_TAG: route.key}


def is_ours(tags: Mapping[str, str], route: Route, owner: str) -> bool:
    """Whether a resource carries this installation's tags for this route."""
    return all(tags.get(name) == value for name, value in ownership_tags(route, owner).items())


def owner_of(tags: Mapping[str, str], route: Route) -> str | None:
    """The installation that owns a route's queue or table; None: it belongs to another route, or not to Chaski."""
    if (tags.get(MANAGED_BY_TAG), tags.get(ROUTE_TAG)) != (MANAGED_BY, route.key):
        return None
    return tags.get(OWNER_TAG)


def describe_owner(tags: Mapping[str, str]) -> str:
    """The owner of a resource as text for an error."""
    if tags.get(MANAGED_BY_TAG) != MANAGED_BY:
        return "it does not carry Chaski's tags"
    return f'it belongs to route "{tags.get(ROUTE_TAG, "")}" of the installation "{tags.get(OWNER_TAG, "")}"'


# ---- send block


def is_blocked(policy: str | None) -> bool:
    """Whether a queue policy denies SendMessage to every principal by our statement, in effect.

    AWS returns policies re-serialised (spaces, the order of keys, `"*"` as `{"AWS": "*"}`), so the meaning is compared.
    """
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in _EVERY_PRINCIPAL
        and "sqs:sendmessage"
        in [action.lower() for action in _list(statement.get("Action")) if isinstance(action, str)]
        and not statement.get("Condition")
        for statement in _statements(policy)
        if statement.get("Sid") == BLOCK_SID
    )


def has_block(policy: str | None) -> bool:
    """Whether a queue policy contains our statement, changed or not."""
    return any(statement.get("Sid") == BLOCK_SID for statement in _statements(policy))


def with_block(policy: str | None, arn: str) -> str:
    """The policy with our statement; statements of other owners are kept."""
    statement = {
        "Sid": BLOCK_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    return _policy_text(policy, [*_other_statements(policy), statement])


def without_block(policy: str | None) -> str:
    """The policy without our statement; "", which deletes the policy, where no statement is left."""
    others = _other_statements(policy)
    return _policy_text(policy, others) if others else ""


def _other_statements(policy: str | None) -> list[Mapping[str, Any]]:
    return [statement for statement in _statements(policy) if statement.get("Sid") != BLOCK_SID]


def _policy_text(policy: str | None, statements: list[Mapping[str, Any]]) -> str:
    document = {**_document(policy), "Statement": statements}
    return json.dumps({"Version": _POLICY_VERSION, **document})


def _statements(policy: str | None) -> list[Mapping[str, Any]]:
    return [each for each in _list(_document(policy).get("Statement")) if isinstance(each, dict)]


def _document(policy: str | None) -> Mapping[str, Any]:
    try:
        document = json.loads(policy) if policy else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


# ---- generations


@dataclass(frozen=True, slots=True)
class KnownGeneration:
    """A generation of which at least one queue exists. One whose creation was interrupted is incomplete."""

    number: int
    map: str  # fingerprint of the route's map when it was created; "" where its queues lack it or disagree
    queues: Mapping[str, Mapping[int, str]]  # queue -> partition -> URL

    def as_generation(self) -> Generation:
        """This generation as a resolved route lists it."""
        return Generation(
            self.number, {name: tuple(urls[index] for index in sorted(urls)) for name, urls in self.queues.items()}
        )


def generations_of(tags: Mapping[str, Mapping[str, str]]) -> tuple[KnownGeneration, ...]:
    """The generations of one route, oldest first.

    Args:
        tags: by URL, of the route's own queues; those of rungs are left out.
    """
    queues: dict[int, dict[str, dict[int, str]]] = {}
    maps: dict[int, set[str]] = {}
    for url, tagged in tags.items():
        place = _place(tagged)
        if place is not None:
            number, queue, index = place
            queues.setdefault(number, {}).setdefault(queue, {})[index] = url
            maps.setdefault(number, set()).update({tagged[MAP_TAG]} if MAP_TAG in tagged else ())
    return tuple(
        KnownGeneration(number, maps[number].pop() if len(maps[number]) == 1 else "", queues[number])
        for number in sorted(queues)
    )


def _place(tagged: Mapping[str, str]) -> tuple[int, str, int] | None:
    try:
        return int(tagged[GENERATION_TAG]), tagged[QUEUE_TAG], int(tagged[PARTITION_TAG])
    except (KeyError, ValueError):
        return None


# ---- queues and table


@dataclass(frozen=True, slots=True)
class ObservedQueue:
    """A queue as SQS describes it."""

    name: str
    url: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def arn(self) -> str:
        return self.attributes.get("QueueArn", "")

    @property
    def is_blocked(self) -> bool:
        """Whether its policy denies SendMessage to every principal."""
        return is_blocked(self.attributes.get("Policy"))

    @property
    def modified_at(self) -> float:
        """Epoch seconds of the last change of its attributes."""
        return float(self.attributes.get("LastModifiedTimestamp", "0"))

    @property
    def counts(self) -> QueueCounts:
        """Message counts; approximate, and up to a minute old."""
        return counts_of(self.attributes)


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """A table as DynamoDB describes it. A field that is None is not supported by this DynamoDB (an emulator)."""

    name: str
    status: str  # CREATING, ACTIVE, UPDATING, DELETING
    description: Mapping[str, Any]  # the response of DescribeTable
    tags: Mapping[str, str] | None
    time_to_live: Mapping[str, Any]  # TimeToLiveDescription; empty while the table is not active
    point_in_time_recovery: bool | None

    @property
    def arn(self) -> str:
        return str(self.description.get("TableArn", ""))

    @property
    def protected(self) -> bool:
        """Whether DeleteTable is refused."""
        return bool(self.description.get("DeletionProtectionEnabled"))


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that exists for one route."""

    queues: Mapping[str, ObservedQueue] = field(default_factory=dict)  # by name, of any owner
    table: ObservedTable | None = None
    ours: frozenset[str] = frozenset()  # names of the queues that carry our tags for this route

    @property
    def own_queues(self) -> tuple[ObservedQueue, ...]:
        """The queues that carry our tags, by name."""
        return tuple(self.queues[name] for name in sorted(self.ours))

    @property
    def generations(self) -> tuple[KnownGeneration, ...]:
        """The generations that the tags of our queues describe, oldest first."""
        return generations_of({queue.url: queue.tags for queue in self.own_queues})
