"""A route that policies deny: what becomes of one that exists already. Pure.

Nothing of it is deleted and nothing is attempted: ingest refuses new messages, and its workers are those of a suspended route,
which only store messages as dead letters that SQS is about to delete. So no message is lost, whenever a policy is made.
"""

from collections.abc import Mapping
from typing import Any

from chaski_core.errors import InvalidRouteError
from chaski_core.route.loading import load_route
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import read_resolved_values
from chaski_core.route.validation.crd import known_part

ACCEPTED = "Accepted"
POLICY_DENIED, POLICIES_UNKNOWN = "PolicyDenied", "PoliciesUnknown"  # reasons of Accepted
_OF_SPEC = (
    "ordering",
    "delivery",
    "deadLetters",
    "subjectGroup",
    "deletionPolicy",
    "redact",
)  # parts that no policy restricts
_OF_RULE = ("name", "url")


def verdict_of(document: Mapping[str, Any]) -> str | None:
    """What the status says about policies for this generation of a route: denied, unknown, or None."""
    generation = document["metadata"].get("generation")
    for each in (document.get("status") or {}).get("conditions") or ():
        if each["type"] == ACCEPTED and each.get("observedGeneration") == generation:
            reason = str(each["reason"])
            return reason if reason in (POLICY_DENIED, POLICIES_UNKNOWN) else None
    return None


def was_accepted(document: Mapping[str, Any]) -> bool:
    """Whether the status says that this generation of a route was accepted."""
    generation = document["metadata"].get("generation")
    return any(
        (each["type"], each["status"], each.get("observedGeneration")) == (ACCEPTED, "True", generation)
        for each in (document.get("status") or {}).get("conditions") or ()
    )


def held_route(document: Mapping[str, Any], *, keep_account: bool = False) -> ResolvedRoute | None:
    """A denied route with its queues and its table, suspended, without a Secret; None if it has no queues yet.

    The denied spec may be a changed one, so queues and ladders are those of `status.resolved`. Of the spec only what no
    policy restricts is kept: its Secrets are not mounted, its targets not called.

    Args:
        document: the ChaskiRoute.
        keep_account: whether the workers keep the ServiceAccount that the spec names, since no policy denies it.
    """
    spec: Mapping[str, Any] = document["spec"]
    values: Mapping[str, Any] = (document.get("status") or {}).get("resolved") or {}
    try:
        generations = sorted(values["generations"], key=lambda each: int(each["number"]))
        queues = [_queue(each, index) for index, each in enumerate(generations[-1]["queues"])]
    except (TypeError, KeyError, ValueError, IndexError):
        return None
    workers = {
        name: value
        for name, value in (spec.get("workers") or {}).items()
        if keep_account or name != "serviceAccountName"
    }
    held = {
        **{name: spec[name] for name in _OF_SPEC if name in spec},
        "queues": queues,
        "targets": {"allow": [{name: rule[name] for name in _OF_RULE} for rule in spec["targets"]["allow"]]},
        "suspend": {"delivery": True, "ingest": True},
        "workers": workers,
        # Another autoscaler keeps the number that it sets: a suspended Pod attempts nothing.
        "autoscaling": {name: value for name, value in (spec.get("autoscaling") or {}).items() if name == "mode"},
    }
    retry = values.get("retry") or spec.get("retry")
    metadata = {name: document["metadata"][name] for name in ("name", "namespace")}
    whole = {name: document[name] for name in ("apiVersion", "kind")} | {"metadata": metadata}
    whole["spec"] = held if retry is None else held | {"retry": retry}
    try:
        return read_resolved_values(load_route(known_part(whole)), values)
    except InvalidRouteError:
        return None


def _queue(raw: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A queue as it was created. Which subjects it takes has no effect: nothing is sent to it."""
    queue = {"name": raw["name"], "partitions": len(raw["urls"])}
    return queue if index == 0 else queue | {"subjects": [raw["name"]]}
