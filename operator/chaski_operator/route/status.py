"""The reconciler's part of a route's status. Pure."""

from collections.abc import Mapping
from typing import Any

from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.kube.status import Status, status_conditions
from chaski_operator.manifests.comparison import difference
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.conditions import OWN, conditions_for, summary
from chaski_operator.route.observation import RouteObservation

ACTIVE, DRAINING = "Active", "Draining"


def status_of(
    observation: RouteObservation,
    generation: int,
    known: Mapping[str, Any],
    now: str,
    *,
    producers_required: bool = True,
) -> Status:
    """The status; the autoscaler applies its own fields beside it.

    Args:
        observation: of this reconciliation.
        generation: `metadata.generation` of the route.
        known: the status so far; what is unknown now stays as it was.
        now: RFC 3339, seconds.
        producers_required: ingest admits only the producers that a route declares.
    """
    conditions = conditions_for(observation, producers_required=producers_required)
    status: Status = {
        "observedGeneration": generation,
        "conditions": status_conditions(
            [*summary(conditions, observation.deployments), *conditions],
            known.get("conditions") or (),
            generation,
            now,
        ),
        "replicas": sum(int((each.get("status") or {}).get("replicas", 0)) for each in observation.deployments),
    }
    if observation.provisioned is not None and observation.resolved is not None:
        status["resolved"] = _resolved(observation.provisioned, observation.resolved, generation)
        status["queues"] = rows_of(observation.resolved, observation.provisioned.draining_rows())
    else:
        status |= {name: known[name] for name in ("resolved", "queues") if name in known}
        status["queues"] = [_own_part(row) for row in known.get("queues") or ()]
    return status


def is_current(wanted: Status, live: Mapping[str, Any]) -> bool:
    """Whether the live status has all of the wanted one and no further rows of the reconciler."""
    if difference({**wanted, "conditions": _by_type(wanted)}, {**live, "conditions": _by_type(live)}) is not None:
        return False
    if wanted.get("resolved") != live.get("resolved"):
        return False
    names = {row["name"] for row in wanted.get("queues") or ()}
    return all(row["name"] in names for row in live.get("queues") or () if "role" in row)


def rows_of(resolved: ResolvedRoute, draining: Mapping[str, str]) -> list[Status]:
    """The rows of `status.queues`: one for each queue and each rung, draining ones included.

    Args:
        resolved: the route with its queues.
        draining: a message for each draining row, by its name.
    """
    current = resolved.current.queues
    rows = [_row(name, "Queue", ACTIVE, len(urls)) for name, urls in current.items()]
    for generation in resolved.generations[:-1]:
        for name, urls in generation.queues.items():
            row = f"{name}.g{generation.number}"
            rows.append(_row(row, "Queue", DRAINING, len(urls), draining.get(row, "")))
    rows += [_row(f"rung-{each.rung.name}", "Rung", ACTIVE, 1) for each in resolved.rungs]
    for each in resolved.retired_rungs:
        row = f"rung-{each.rung.name}"
        rows.append(_row(row, "Rung", DRAINING, 1, draining.get(row, "")))
    return rows


def _row(name: str, role: str, state: str, partitions: int, message: str = "") -> Status:
    row: Status = {"name": name, "role": role, "state": state, "partitions": partitions}
    return row | ({"message": message} if message else {})


def _resolved(provisioned: ProvisionResult, resolved: ResolvedRoute, generation: int) -> Status:
    retry = resolved.route.document["spec"]["retry"]  # the default of this release if the spec has none
    values = resolved_values(resolved) | {"observedGeneration": generation, "retry": retry}
    fenced = provisioned.fenced_at([each.number for each in resolved.generations[:-1]])
    for each in values["generations"]:
        if each["number"] in fenced:
            each["fencedAt"] = fenced[each["number"]]
    return values


def _own_part(row: Mapping[str, Any]) -> Status:
    return {name: row[name] for name in ("name", "role", "state", "partitions", "message") if name in row}


def _by_type(status: Mapping[str, Any]) -> dict[str, Any]:
    """The reconciler's own conditions without their times."""
    return {
        each["type"]: {name: value for name, value in each.items() if name != "lastTransitionTime"}
        for each in status.get("conditions") or ()
        if each["type"] in OWN
    }
