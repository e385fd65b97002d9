"""What people hear of a look at a route: only what changed, and nothing twice. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaski_aws.provision.apply import Done
from chaski_operator.kube.event_posting import NORMAL, WARNING, News
from chaski_operator.route.conditions import NEEDED, READY
from chaski_operator.route.policy import RouteObservation

# Passing states of something that goes well.
_UNDER_WAY = frozenset({"Pending", "Progressing", "TableCreating", "TableUpdating", "RecentlyDeleted"})
_RENEWED = 3  # things named in one event; the rest is counted


def news_of(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]], found: RouteObservation
) -> list[News]:
    """Events for one look.

    Args:
        before: the conditions so far.
        after: the conditions now.
        found: all that the look found.
    """
    return [*_of_conditions(before, after), *_of_aws(found)]


def _of_conditions(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> Iterator[News]:
    known = {each["type"]: (each["status"], each["reason"]) for each in before}
    for each in after:
        now = (each["status"], each["reason"])
        if known.get(each["type"]) == now:
            continue
        if each["type"] == READY and each["status"] == "True":
            yield News(NORMAL, "Ready", each["message"])
        if each["type"] in NEEDED and each["status"] != "True" and each["reason"] not in _UNDER_WAY:
            yield News(WARNING, each["reason"], f"{each['type']}: {each['message']}")
        if each["type"] == "Drifted" and each["status"] == "True":
            yield News(NORMAL, "DriftCorrected", each["message"])
        if each["type"] == "BacklogLimit" and each["status"] == "True":
            yield News(WARNING, "BacklogLimit", each["message"])


def _of_aws(found: RouteObservation) -> Iterator[News]:
    if found.settled is None or not found.is_fresh:
        return
    done = found.settled.done
    for reason, told, names in (
        ("Made", "made", _names(done, "CreateQueue", "CreateTable")),
        ("Fenced", "takes no new messages from now on and runs empty:", _fenced(done)),
        ("Dropped", "was empty and is deleted:", _names(done, "DeleteQueue")),
    ):
        if names:
            yield News(NORMAL, reason, f"{told} {_listed(names)}")
    for each in done:
        for drift in each.action.drift:
            if drift.attribute == "DelaySeconds":
                told = f"{each.action.resource} waits {drift.wanted} s instead of {drift.was} s: all messages in it, the old ones too"
                yield News(NORMAL, "RungDelayChanged", told)


def _names(done: Iterable[Done], *operations: str) -> list[str]:
    return [each.action.resource for each in done if each.action.operation in operations]


def _fenced(done: Iterable[Done]) -> list[str]:
    return [each.action.resource for each in done if each.action.told.startswith("fence")]


def _listed(names: list[str]) -> str:
    rest = len(names) - _RENEWED
    return ", ".join(names[:_RENEWED]) + (f" and {rest} more" if rest > 0 else "")
