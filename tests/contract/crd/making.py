"""Builders of the manifests in the tables."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = object()  # in a change: removes the field


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document and its expected faults.

    `faults`: the faults that `chaski validate` reports, as path -> message. For the first fault of a rule the API server has
    the same message, at the same path or a parent of it. For faults of the schema ("..." at the end of the message) it names
    the same path with another message.
    """

    name: str
    document: Mapping[str, Any]
    faults: tuple[tuple[str, str], ...] = ()
    old: Mapping[str, Any] | None = None  # what the document replaces

    @property
    def of_the_schema(self) -> bool:
        """Whether the schema refuses it; otherwise a rule does."""
        return any(message.endswith("...") for _, message in self.faults)


# As large as one may be.
CA_BUNDLE = "-----BEGIN CERTIFICATE-----\n" + ("A" * 63 + "\n") * 255
CA_BUNDLE += "A" * (16_384 - len(CA_BUNDLE))


def base() -> dict[str, Any]:
    """The smallest route."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": "conversations", "namespace": "helpdesk"},
        "spec": {
            "queues": [{"name": "messages"}],
            "targets": {"allow": [{"name": "helpdesk", "url": "https://api.helpdesk.example/hooks/"}]},
        },
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest route with values set at dotted paths, such as `spec.queues.0.partitions`."""
    document = base()
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = document
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if value is ABSENT:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = copy.deepcopy(value)
        else:
            place[last] = copy.deepcopy(value)
    return document


def refused(name: str, changes: Mapping[str, Any], *faults: tuple[str, str]) -> Manifest:
    """The smallest route with changes that must be refused."""
    return Manifest(name, changed(changes), faults)


def with_url(name: str, url: str, *messages: str) -> Manifest:
    """A target's URL that must be refused."""
    where = "spec.targets.allow[0].url"
    return refused(name, {"spec.targets.allow.0.url": url}, *((where, message) for message in messages))


RUNGS = [
    {"name": "fast", "delaySeconds": 5},
    {"name": "medium", "delaySeconds": 60},
    {"name": "slow", "delaySeconds": 900},
]


def with_retry(rungs: list[dict[str, Any]], *ladders: dict[str, Any]) -> dict[str, Any]:
    """The change that sets rungs and ladders of a route."""
    return {"spec.retry": {"rungs": rungs, "ladders": list(ladders)}}


def with_outcomes(*outcomes: dict[str, Any], ladders: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """The change that sets outcomes and ladders of a route."""
    return {"spec.retry": {"rungs": RUNGS, "ladders": list(ladders), "outcomes": list(outcomes)}}


def outcome(result: str, *statuses: str) -> dict[str, Any]:
    """One entry of `outcomes`."""
    return {"statuses": list(statuses), "result": result}


def ladder(error_class: str, *rungs: str, **more: Any) -> dict[str, Any]:
    """One ladder."""
    return {"class": error_class, "rungs": list(rungs), **more}
