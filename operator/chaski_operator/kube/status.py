"""The parts that every status has in common: conditions, times, the applied document. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaski_core.route.validation.crd import GROUP_VERSION, KIND

Status = dict[str, Any]

_MAX_MESSAGE = 2_048  # characters
_MAX_REASON = 128  # characters; an event's reason may not have more (ValidateEventCreate of k8s.io/kubernetes)
_NOT_IN_REASON = re.compile(r"[^A-Za-z0-9_]")


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
                "reason": reason_text(condition.reason),
                # Without lone surrogates, which a text of AWS may contain.
                "message": condition.message[:_MAX_MESSAGE].encode("utf-8", "replace").decode(),
            }
        )
    return entries


def reason_text(code: str) -> str:
    """A reason that the API server accepts, from a code of AWS, of a proxy in front of it or of the cluster.

    Such a code may be `AWS.SimpleQueueService.NonExistentQueue`, or the status of a response without a code, as `502`. With an
    invalid reason the whole status would be refused.
    """
    text = _NOT_IN_REASON.sub("", code)[:_MAX_REASON].strip("_")
    return text if text[:1].isalpha() else f"Status{text}" if text else "Failed"


def status_document(namespace: str, name: str, status: Status) -> dict[str, Any]:
    """The body of a server-side apply of a ChaskiRoute's status."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": metadata, "status": status}


def rfc3339(seconds: float) -> str:
    """Epoch seconds in the API server's format of times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
