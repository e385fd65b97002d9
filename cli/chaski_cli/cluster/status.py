"""Runs `kubectl chaski status`: what the operator reports of a ChaskiRoute, for people."""

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from chaski_cli.cluster.access import ClusterOptions, get_route, with_api
from chaski_cli.cluster.targets import target_rows, targets_table
from chaski_cli.output import age, cell, emit_result, printable, stdout, table
from chaski_core.timestamps import milliseconds
from chaski_runtime.kube.client import KubeApi, Object
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import ExitCode

_COUNTS = ("visible", "inFlight", "delayed")
_GOOD_IF_FALSE = frozenset(  # conditions that need attention when they are true
    ("ScalingLimited", "Shortage", "NearExpiry", "Suspended", "Drifted", "BacklogLimit", "SigningShared", "TargetsHeld")
)


def run_status(options: ClusterOptions, name: str, output: str) -> ExitCode:
    """Prints the status of a route. `output`: table, wide or json. FAILED if it is not ready."""

    async def read(api: KubeApi) -> Object:
        return await get_route(api, options, name)

    document = asyncio.run(with_api(options, read))
    if output == "json":
        emit_result(status_json(document), indented=True)
    else:
        stdout().print(status_view(document, SystemClock().now_ms(), wide=output == "wide"))
    return ExitCode.OK if _is_ready(document) else ExitCode.FAILED


def status_json(document: Object) -> dict[str, Any]:
    """`{route, generation, observedGeneration, ready, conditions, replicas, backlog, retrying, queues, targets, ...}`.

    Conditions, queues and counts are those of the status; a count that the operator does not know is null.
    """
    status = document.get("status") or {}
    resolved = status.get("resolved") or {}
    return {
        "route": _key(document),
        "generation": document["metadata"].get("generation"),
        "observedGeneration": status.get("observedGeneration"),
        "ready": _is_ready(document),
        "conditions": status.get("conditions") or [],
        **{name: status.get(name) for name in ("replicas", "backlog", "retrying", "countsObservedAt")},
        "queues": status.get("queues") or [],
        "targets": [row.as_json() for row in target_rows([document])],
        "queueGeneration": resolved.get("generation"),
        "deadLetterTable": resolved.get("deadLetterTable"),
    }


def status_view(document: Object, now_ms: int, *, wide: bool) -> RenderableType:
    """A line with the verdict; conditions; queues; targets. Wide: all conditions, and URLs in full."""
    status = document.get("status") or {}
    ready = _condition(document, "Ready")
    verdict = ("ready", "green") if _is_ready(document) else ("not ready", "red")
    parts: list[RenderableType] = [Text.assemble((_key(document), "bold"), ": ", verdict)]
    if ready is not None:
        parts.append(Text(f"{printable(str(ready['reason']))}: {printable(str(ready['message']))}"))
    if (status.get("observedGeneration"), True) != (document["metadata"].get("generation"), True):
        parts.append(Text("the operator has not followed the latest change of the route yet", style="yellow"))
    parts.append(Text(_totals(status, now_ms)))
    conditions = [each for each in status.get("conditions") or () if wide or not _is_good(each)]
    if conditions:
        parts += [Text(), _conditions_table(conditions, now_ms)]
    if status.get("queues"):
        parts += [Text(), _queues_table(status["queues"])]
    parts += [Text(), targets_table(target_rows([document]), wide=wide)]
    return Group(*parts)


def _conditions_table(conditions: list[Mapping[str, Any]], now_ms: int) -> RenderableType:
    rows = [
        (
            each["type"],
            cell(each["status"], "" if _is_good(each) else "red"),
            _ago(each.get("lastTransitionTime"), now_ms),
            each["reason"],
            each["message"],
        )
        for each in conditions
    ]
    return table(("condition", "status", "since", "reason", "message"), rows)


def _queues_table(queues: list[Mapping[str, Any]]) -> RenderableType:
    rows = [
        (
            each["name"],
            each.get("state", "-"),
            each.get("partitions", "-"),
            *(each.get(name, "-") for name in _COUNTS),
            f"{each.get('replicas', '-')}/{each.get('desiredReplicas', '-')}" if each.get("role") == "Queue" else "-",
        )
        for each in queues
    ]
    columns = ("queue", "state", "partitions", "visible", "in flight", "delayed", "pods")
    return table(columns, rows, right=columns[2:])


def _totals(status: Mapping[str, Any], now_ms: int) -> str:
    names = {"backlog": "messages waiting", "retrying": "of them on rungs", "replicas": "worker Pods"}
    found = [f"{status[name]} {words}" for name, words in names.items() if name in status]
    counted = status.get("countsObservedAt")
    return ", ".join(found or ["no counts yet"]) + (f"; counted {_ago(counted, now_ms)} ago" if counted else "")


def _is_ready(document: Object) -> bool:
    ready = _condition(document, "Ready")
    return ready is not None and ready.get("status") == "True"


def _condition(document: Object, name: str) -> Mapping[str, Any] | None:
    conditions = (document.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == name), None)


def _is_good(condition: Mapping[str, Any]) -> bool:
    return bool(condition["status"] == ("False" if condition["type"] in _GOOD_IF_FALSE else "True"))


def _ago(at: Any, now_ms: int) -> str:
    moment = milliseconds(at)
    return "-" if moment is None else age(moment, now_ms)


def _key(document: Object) -> str:
    return "{namespace}/{name}".format_map(document["metadata"])
