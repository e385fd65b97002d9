"""Kubernetes events for a reconciliation: emitted on transitions only. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaski_operator.kube.events import NORMAL, WARNING, Event
from chaski_operator.route.conditions import IN_PROGRESS, NEEDED, READY
from chaski_operator.route.observation import RouteObservation

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
        if each["type"] in NEEDED and each["status"] != "True" and each["reason"] not in IN_PROGRESS:
            yield Event(WARNING, each["reason"], f"{each['type']}: {each['message']}")
        if each["type"] == "Drifted" and each["status"] == "True":
            is_added = each["reason"] == "Added"
            yield Event(WARNING if is_added else NORMAL, "Added" if is_added else "DriftCorrected", each["message"])
        if each["type"] == "BacklogLimit" and each["status"] == "True":
            yield Event(WARNING, "BacklogLimit", each["message"])


def _of_aws(observation: RouteObservation) -> Iterator[Event]:
    provisioned = observation.provisioned
    if provisioned is None or not provisioned.is_fresh:
        return
    for reason, message, names in (
        ("Made", "created", provisioned.created),
        ("Fenced", "no longer accepting new messages, draining:", provisioned.fenced),
        ("Dropped", "drained and deleted:", provisioned.dropped),
    ):
        if names:
            yield Event(NORMAL, reason, f"{message} {_listed(names)}")
    for message in provisioned.delay_changes():
        yield Event(NORMAL, "RungDelayChanged", message)


def _listed(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
