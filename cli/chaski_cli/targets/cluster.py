"""`chaski targets`: reads the status of ChaskiRoutes in a cluster, and sets `suspend` of one allow rule."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from chaski_cli.output import emit_json, stderr, stdout, table
from chaski_core import __version__
from chaski_core.route.validation.crd import GROUP_VERSION
from chaski_runtime.kube.client import KubeApi, KubeApiError, KubeRefusedError, object_path
from chaski_runtime.kube.config import KubeAccess, NoKubeAccessError, kube_access
from chaski_runtime.kube.official import OfficialTransport
from chaski_runtime.process.command_error import CommandError, ExitCode, wrong_input

_PLURAL = "chaskiroutes"
_Result = TypeVar("_Result")
_TRIES = 3  # of a change, while others write the route


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target of a route."""

    route: str
    target: str
    url: str
    reasons: tuple[str, ...]  # why it is held; empty: it is not
    held_since: str | None  # RFC 3339; None: not held, or not reported yet


def target_rows(routes: Iterable[Mapping[str, Any]]) -> list[TargetRow]:
    """The targets of ChaskiRoutes, as the spec declares and the status reports them. What the spec suspends is held."""
    rows = []
    for route in routes:
        held = {row["name"]: row for row in (route.get("status") or {}).get("targets") or ()}
        for rule in route["spec"]["targets"]["allow"]:
            row = held.get(rule["name"], {})
            reported = [each for each in row.get("reasons") or () if each != "Suspended"]
            reasons = (*reported, "Suspended") if rule.get("suspend") else tuple(reported)
            since = row.get("heldSince") if reasons else None
            rows.append(TargetRow(route["metadata"]["name"], rule["name"], rule["url"], reasons, since))
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


def run_list(namespace: str | None, route: str | None, *, as_json: bool) -> ExitCode:
    """Prints the targets of one route, or of all routes of the namespace."""

    async def read(api: KubeApi) -> list[TargetRow]:
        place = namespace or api.access.namespace
        if route is not None:
            return target_rows([await api.get(object_path(GROUP_VERSION, _PLURAL, place, route))])
        found = await api.get(object_path(GROUP_VERSION, _PLURAL, place))
        return target_rows(found["items"])

    rows = asyncio.run(_with_api(read))
    if as_json:
        emit_json([asdict(row) for row in rows], indented=True)
        return ExitCode.OK
    columns = ("ROUTE", "TARGET", "HELD", "SINCE", "URL")
    cells = [(row.route, row.target, ", ".join(row.reasons) or "-", row.held_since or "-", row.url) for row in rows]
    stdout().print(table(columns, cells))
    return ExitCode.OK


def run_suspend(namespace: str | None, route: str, target: str, *, suspend: bool) -> ExitCode:
    """Suspends or releases a target."""

    async def change(api: KubeApi) -> None:
        path = object_path(GROUP_VERSION, _PLURAL, namespace or api.access.namespace, route)
        for remaining in reversed(range(_TRIES)):
            try:
                await api.json_patch(path, suspend_operations(await api.get(path), target, suspend=suspend))
            except KubeRefusedError as error:
                if error.status not in (409, 422) or not remaining:
                    raise
            else:
                return

    asyncio.run(_with_api(change))
    state = "held: its messages wait in order" if suspend else "released"
    stderr().print(f"{route}: target {target} is {state}; workers follow within 90 seconds")
    return ExitCode.OK


async def _with_api(use: Callable[[KubeApi], Awaitable[_Result]]) -> _Result:
    async with KubeApi(_access(), user_agent=f"chaski-cli/{__version__}", transport=OfficialTransport) as api:
        try:
            return await use(api)
        except KubeRefusedError as error:
            if error.status == 404:
                raise wrong_input(
                    f"the ChaskiRoute was not found: {error}", "check its name, and give its namespace by --namespace"
                ) from error
            raise CommandError(f"the API server refused it: {error}") from error
        except KubeApiError as error:
            raise CommandError(str(error)) from error


def _access() -> KubeAccess:
    try:
        return kube_access()
    except NoKubeAccessError as error:
        raise wrong_input(
            str(error),
            "`chaski targets` works on a cluster; for `chaski dev` set suspend in the route file",
        ) from error
