"""The parts that every status has in common: conditions, times, the applied document. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaski_core.route.validation.crd import GROUP_VERSION, KIND

Status = dict[str, Any]

_MAX_MESSAGE = 2_048  # characters


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition without its times."""

    type: str
    status: str  # True | False | Unknown
    reason: str
    message: str

    @property
    def is_true(self) -> bool:
        """Whether its status is True."""
        return self.status == "True"


def condition_true(type_: str, reason: str, message: str = "") -> Condition:
    """A condition with status True."""
    return Condition(type_, "True", reason, message)


def condition_false(type_: str, reason: str, message: str = "") -> Condition:
    """A condition with status False."""
    return Condition(type_, "False", reason, message)


def condition_unknown(type_: str, reason: str = "Pending", message: str = "not checked yet") -> Condition:
    """A condition with status Unknown."""
    return Condition(type_, "Unknown", reason, message)


def status_conditions(
    conditions: Iterable[Condition], known: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[Status]:
    """`status.conditions`, with times.

    Args:
        conditions: the current ones.
        known: `status.conditions` so far; where the status is unchanged, its transition time stays.
        generation: `metadata.generation` of the observed object.
        now: RFC 3339, seconds.
    """
    before = {each["type"]: each for each in known}
    entries = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old.get("status") == condition.status
        entries.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else now,
                "reason": condition.reason,
                "message": condition.message[:_MAX_MESSAGE],
            }
        )
    return entries


def status_document(namespace: str, name: str, status: Status) -> dict[str, Any]:
    """The body of a server-side apply of a ChaskiRoute's status."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "status": status}


def rfc3339(seconds: float) -> str:
    """Epoch seconds in the API server's format of times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
