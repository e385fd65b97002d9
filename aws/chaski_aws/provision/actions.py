"""A change on AWS as data. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BLOCK_SENDS = "block sends: deny SendMessage to everyone"


@dataclass(frozen=True, slots=True)
class Drift:
    """One value that differs from the desired one."""

    attribute: str
    was: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Action:
    """One call that changes something."""

    service: str  # sqs | dynamodb
    operation: str  # CreateQueue
    resource: str  # name of the queue or table
    request: Mapping[str, Any]
    description: str  # for people: `set attributes`
    drift: tuple[Drift, ...] = field(default=())

    @property
    def blocks_sends(self) -> bool:
        """Whether it makes a queue refuse new messages."""
        return self.description == BLOCK_SENDS

    def as_json(self) -> dict[str, Any]:
        """`{service, operation, resource, action, drift: [{attribute, was, wanted}]}`."""
        return {
            "service": self.service,
            "operation": self.operation,
            "resource": self.resource,
            "action": self.description,
            "drift": [{"attribute": each.attribute, "was": each.was, "wanted": each.wanted} for each in self.drift],
        }
