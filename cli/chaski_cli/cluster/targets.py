"""`chaski targets`: reads the status of ChaskiRoutes in a cluster, and sets `suspend` of one allow rule."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chaski_cli.cluster.access import PLURAL, ClusterOptions, get_route, with_api
from chaski_cli.output import TextTable, emit_result, stderr, stdout, table
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_runtime.kube.client import KubeApi, KubeRefusedError, object_path
from chaski_runtime.process.command_error import ExitCode, wrong_input

_TRIES = 3  # of a change, while others write the route


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target of a route."""

    route: str  # namespace/name
    target: str
    url: str
    reasons: tuple[str, ...]  # why it is held; empty: it is not
    held_since: str | None  # RFC 3339; None: not held, or not reported yet
    limits: Mapping[str, Any] | None = None  # as the spec declares them

    def as_json(self) -> dict[str, Any]:
        """`{route, target, url, reasons, heldSince, limits}`."""
        names = {"route": self.route, "target": self.target, "url": self.url}
        return {**names, "reasons": list(self.reasons), "heldSince": self.held_since, "limits": self.limits}

    @property
    def limits_text(self) -> str:
        """The limits for people, such as `50/s, 4 at once, per host`; `-`: none."""
        if self.limits is None:
            return "-"
        found = self.limits
        parts = [f"{found['ratePerSecond']}/s"] if "ratePerSecond" in found else []
        parts += [f"burst {found['burst']}"] if "burst" in found else []
        parts += [f"{found['concurrency']} at once"] if "concurrency" in found else []
        return ", ".join((*parts, f"per {str(found.get('per', 'Host')).lower()}"))


def target_rows(routes: Iterable[Mapping[str, Any]]) -> list[TargetRow]:
    """The targets of ChaskiRoutes, as the spec declares and the status reports them. What the spec suspends is held."""
    rows = []
    for route in routes:
        key = "{namespace}/{name}".format_map(route["metadata"])
        held = {row["name"]: row for row in (route.get("status") or {}).get("targets") or ()}
        for rule in route["spec"]["targets"]["allow"]:
            row = held.get(rule["name"], {})
            reported = [each for each in row.get("reasons") or () if each != "Suspended"]
            reasons = (*reported, "Suspended") if rule.get("suspend") else tuple(reported)
            since = row.get("heldSince") if reasons else None
            rows.append(TargetRow(key, rule["name"], rule["url"], reasons, since, rule.get("limits")))
    return rows


def suspend_operations(route: Mapping[str, Any], target: str, *, suspend: bool) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that suspends or releases a rule; it fails if the list was changed meanwhile.

    Raises:
        CommandError: the route has no such rule.
    """
    rules = route["spec"]["targets"]["allow"]
    names = [rule["name"] for rule in rules]
    if target not in names:
        raise wrong_input(f'{route["metadata"]["name"]} has no target "{target}"; its targets are {", ".join(names)}')
    path = f"/spec/targets/allow/{names.index(target)}"
    return [
        {"op": "test", "path": f"{path}/name", "value": target},
        {"op": "add", "path": f"{path}/suspend", "value": suspend},
    ]


def run_list(options: ClusterOptions, route: str | None, output: str) -> ExitCode:
    """Prints the targets of one route, or of all routes of the namespace. `output`: table, wide or json."""

    async def read(api: KubeApi) -> list[TargetRow]:
        if route is not None:
            return target_rows([await get_route(api, options, route)])
        found = await api.get(object_path(GROUP_VERSION, PLURAL, options.namespace or api.access.namespace))
        return target_rows(found["items"])

    rows = asyncio.run(with_api(options, read))
    if output == "json":
        emit_result([row.as_json() for row in rows], indented=True)
    else:
        stdout().print(targets_table(rows, wide=output == "wide"))
    return ExitCode.OK


def targets_table(rows: Iterable[TargetRow], *, wide: bool) -> TextTable:
    """One row for each target."""
    cells = [
        (row.route, row.target, ", ".join(row.reasons) or "-", row.held_since or "-", row.limits_text, row.url)
        for row in rows
    ]
    return table(("route", "target", "held", "since", "limits", "url"), cells, cut=() if wide else ("url", "limits"))


def run_suspend(options: ClusterOptions, route: str, target: str, *, suspend: bool) -> ExitCode:
    """Suspends or releases a target."""

    async def change(api: KubeApi) -> None:
        path = object_path(GROUP_VERSION, PLURAL, *options.place(api.access, route))
        for remaining in reversed(range(_TRIES)):
            try:
                await api.json_patch(path, suspend_operations(await api.get(path), target, suspend=suspend))
            except KubeRefusedError as error:
                if error.status not in (409, 422) or not remaining:
                    raise
            else:
                return

    asyncio.run(with_api(options, change))
    state = "held: its messages wait in order" if suspend else "released"
    stderr().print(f"{route}: target {target} is {state}; workers follow within 90 seconds")
    return ExitCode.OK
