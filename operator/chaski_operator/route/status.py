"""The reconciler's part of a route's status. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_values
from chaski_operator.kube.apply import difference
from chaski_operator.kube.status import Condition, Status, status_conditions
from chaski_operator.route.conditions import OWN, ready

ACTIVE, DRAINING = "Active", "Draining"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `status.queues`."""

    name: str  # of the queue, or `rung-<name>`
    role: str  # Queue | Rung
    state: str  # Active | Draining
    partitions: int
    message: str = ""

    def as_status(self) -> Status:
        row: Status = {"name": self.name, "role": self.role, "state": self.state, "partitions": self.partitions}
        return row | ({"message": self.message} if self.message else {})


@dataclass(frozen=True, slots=True)
class StatusInputs:
    """The inputs of a route's status."""

    generation: int  # metadata.generation
    conditions: Sequence[Condition]
    resolved: ResolvedRoute | None = None  # None: unknown, the known value stays
    fenced_at: Mapping[int, str] = field(default_factory=dict)  # by number of a generation that accepts no new messages
    draining: Mapping[str, str] = field(default_factory=dict)  # row name -> message
    replicas: int | None = None


def status_of(inputs: StatusInputs, known: Mapping[str, Any], now: str) -> Status:
    """The status; the autoscaler applies its own fields beside it.

    Args:
        inputs: of this reconciliation.
        known: the status so far.
        now: RFC 3339, seconds.
    """
    conditions = [ready(inputs.conditions), *inputs.conditions]
    status: Status = {
        "observedGeneration": inputs.generation,
        "conditions": status_conditions(conditions, known.get("conditions") or (), inputs.generation, now),
    }
    if inputs.replicas is not None:
        status["replicas"] = inputs.replicas
    if inputs.resolved is not None:
        status["resolved"] = _resolved(inputs, inputs.resolved)
        status["queues"] = [row.as_status() for row in rows_of(inputs.resolved, inputs.draining)]
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


def rows_of(resolved: ResolvedRoute, draining: Mapping[str, str]) -> list[Row]:
    """One row for each queue and each rung, draining ones included."""
    current = resolved.current.queues
    rows = [Row(name, "Queue", ACTIVE, len(urls)) for name, urls in current.items()]
    for generation in resolved.generations[:-1]:
        for name, urls in generation.queues.items():
            row = f"{name}.g{generation.number}"
            rows.append(Row(row, "Queue", DRAINING, len(urls), draining.get(row, "")))
    rows += [Row(f"rung-{each.rung.name}", "Rung", ACTIVE, 1) for each in resolved.rungs]
    for each in resolved.retired_rungs:
        row = f"rung-{each.rung.name}"
        rows.append(Row(row, "Rung", DRAINING, 1, draining.get(row, "")))
    return rows


def _resolved(inputs: StatusInputs, resolved: ResolvedRoute) -> Status:
    values = resolved_values(resolved) | {"observedGeneration": inputs.generation}
    for generation in values["generations"]:
        if generation["number"] in inputs.fenced_at:
            generation["fencedAt"] = inputs.fenced_at[generation["number"]]
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
