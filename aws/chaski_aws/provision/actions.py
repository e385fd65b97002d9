"""One change, as data. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Drift:
    """One value that is not what it must be."""

    attribute: str
    was: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Action:
    """One call that changes something, as data."""

    service: str  # sqs | dynamodb
    operation: str  # CreateQueue
    resource: str  # name of the queue or table
    request: Mapping[str, Any]
    told: str  # what it does, in words: `fence`
    drift: tuple[Drift, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """`{service, operation, resource, action, drift: [{attribute, was, wanted}]}`."""
        return {
            "service": self.service,
            "operation": self.operation,
            "resource": self.resource,
            "action": self.told,
            "drift": [{"attribute": each.attribute, "was": each.was, "wanted": each.wanted} for each in self.drift],
        }
