"""The status of a route: what the operator says of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import resolved_values
from chaski_core.route.validation.crd import GROUP_VERSION, KIND
from chaski_operator.kube.compare import difference
from chaski_operator.route.conditions import OWN, Verdict, conditions, ready

Status = dict[str, Any]

ACTIVE, DRAINING = "Active", "Draining"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `status.queues`."""

    name: str  # the queue's, or `rung-<name>`
    role: str  # Queue | Rung
    state: str  # Active | Draining
    partitions: int
    message: str = ""

    def as_status(self) -> Status:
        """As it stands in the status."""
        row: Status = {"name": self.name, "role": self.role, "state": self.state, "partitions": self.partitions}
        return row | ({"message": self.message} if self.message else {})


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one look at a route found."""

    generation: int  # metadata.generation
    verdicts: Sequence[Verdict]
    resolved: ResolvedRoute | None = None  # None: not known, what stands there stays
    fenced_at: Mapping[int, str] = field(default_factory=dict)  # by number of a generation that takes no messages
    draining: Mapping[str, str] = field(default_factory=dict)  # row name -> what is still in it, in words
    replicas: int | None = None


def status_of(findings: Findings, known: Mapping[str, Any], now: str) -> Status:
    """The operator's part of the status; the autoscaler applies its own beside it.

    Args:
        findings: of this look.
        known: the status so far.
        now: RFC 3339, seconds.
    """
    verdicts = [ready(findings.verdicts), *findings.verdicts]
    status: Status = {
        "observedGeneration": findings.generation,
        "conditions": conditions(verdicts, known.get("conditions") or (), findings.generation, now),
    }
    if findings.replicas is not None:
        status["replicas"] = findings.replicas
    if findings.resolved is not None:
        status["resolved"] = _resolved(findings, findings.resolved)
        status["queues"] = [row.as_status() for row in rows_of(findings.resolved, findings.draining)]
    else:
        status |= {name: known[name] for name in ("resolved", "queues") if name in known}
        status["queues"] = [_own_part(row) for row in known.get("queues") or ()]
    return status


def status_document(namespace: str, name: str, status: Status) -> dict[str, Any]:
    """What is applied to the route's status."""
    return {
        "apiVersion": GROUP_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "status": status,
    }


def is_current(wanted: Status, live: Mapping[str, Any]) -> bool:
    """Whether the status that is there already says all of it and, of what is the operator's, no more."""
    if difference({**wanted, "conditions": _by_type(wanted)}, {**live, "conditions": _by_type(live)}) is not None:
        return False
    if wanted.get("resolved") != live.get("resolved"):
        return False
    names = {row["name"] for row in wanted.get("queues") or ()}
    return all(row["name"] in names for row in live.get("queues") or () if "role" in row)


def rows_of(resolved: ResolvedRoute, draining: Mapping[str, str]) -> list[Row]:
    """One row for each queue and each rung, those that run empty included."""
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


def _resolved(findings: Findings, resolved: ResolvedRoute) -> Status:
    values = resolved_values(resolved) | {"observedGeneration": findings.generation}
    for generation in values["generations"]:
        if generation["number"] in findings.fenced_at:
            generation["fencedAt"] = findings.fenced_at[generation["number"]]
    return values


def _own_part(row: Mapping[str, Any]) -> Status:
    return {name: row[name] for name in ("name", "role", "state", "partitions", "message") if name in row}


def _by_type(status: Mapping[str, Any]) -> dict[str, Any]:
    """The operator's own conditions without their times."""
    return {
        each["type"]: {name: value for name, value in each.items() if name != "lastTransitionTime"}
        for each in status.get("conditions") or ()
        if each["type"] in OWN
    }
