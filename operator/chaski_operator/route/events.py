"""Kubernetes events for a reconciliation: emitted on transitions only. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaski_aws.provision.apply import Done
from chaski_operator.kube.events import NORMAL, WARNING, Event
from chaski_operator.route.conditions import NEEDED, READY
from chaski_operator.route.observation import RouteObservation

# Transient reasons of a normal rollout: no warning.
_IN_PROGRESS = frozenset({"Pending", "Progressing", "TableCreating", "TableUpdating", "RecentlyDeleted"})
_MAX_NAMES = 3  # in one event; the rest is counted


def events_for(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]], observation: RouteObservation
) -> list[Event]:
    """The events of one reconciliation.

    Args:
        before: `status.conditions` before it.
        after: `status.conditions` after it.
        observation: of this reconciliation.
    """
    return [*_of_conditions(before, after), *_of_aws(observation)]


def _of_conditions(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    known = {each["type"]: (each["status"], each["reason"]) for each in before}
    for each in after:
        if known.get(each["type"]) == (each["status"], each["reason"]):
            continue
        if each["type"] == READY and each["status"] == "True":
            yield Event(NORMAL, "Ready", each["message"])
        if each["type"] in NEEDED and each["status"] != "True" and each["reason"] not in _IN_PROGRESS:
            yield Event(WARNING, each["reason"], f"{each['type']}: {each['message']}")
        if each["type"] == "Drifted" and each["status"] == "True":
            yield Event(NORMAL, "DriftCorrected", each["message"])
        if each["type"] == "BacklogLimit" and each["status"] == "True":
            yield Event(WARNING, "BacklogLimit", each["message"])


def _of_aws(observation: RouteObservation) -> Iterator[Event]:
    if observation.provisioned is None or not observation.is_fresh:
        return
    done = observation.provisioned.done
    for reason, message, names in (
        ("Made", "created", _names(done, "CreateQueue", "CreateTable")),
        ("Fenced", "no longer accepting new messages, draining:", _fenced(done)),
        ("Dropped", "drained and deleted:", _names(done, "DeleteQueue")),
    ):
        if names:
            yield Event(NORMAL, reason, f"{message} {_listed(names)}")
    for each in done:
        for drift in each.action.drift:
            if drift.attribute == "DelaySeconds":
                message = f"{each.action.resource}: delay changed from {drift.was} s to {drift.wanted} s"
                yield Event(NORMAL, "RungDelayChanged", f"{message}, for messages already in it too")


def _names(done: Iterable[Done], *operations: str) -> list[str]:
    return [each.action.resource for each in done if each.action.operation in operations]


def _fenced(done: Iterable[Done]) -> list[str]:
    return [each.action.resource for each in done if each.action.blocks_sends]


def _listed(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
