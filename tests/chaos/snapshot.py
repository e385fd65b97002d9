"""The end state of the chaos, and the state that an undisturbed operator makes of the same specs."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from campaign.machine import now
from chaos import foreign
from chaos.evidence import EndState, Evidence, Life
from chaos.plan import INSTALLATION, NAMESPACES, Key, blocked_keys, document
from chaos.world import World, control_namespaces, control_of, route_path, undisturbed

_KINDS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
_SELECTOR = "labelSelector=app.kubernetes.io/managed-by=chaski-operator"
# What differs between two routes of the same spec: identities, times, hashes, and what the autoscaler decides.
_DROPPED = {
    "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "status", "replicas",
    "chaski.dev/manifest-hash", "chaski.dev/route-hash", "deployment.kubernetes.io/revision",
    "chaski.dev/generation", "CreatedTimestamp", "LastModifiedTimestamp", "CreationDateTime",
}  # fmt: skip
_NUMBERS = (
    (re.compile(r"chaski-[0-9a-f]{16}-"), "chaski-HASH-"),  # of the installation, by default the cluster's uid
    (re.compile(r"-g\d+(-p\d+)?-[0-9a-f]{16}"), r"-gN\1-HASH"),
    (re.compile(r"-[0-9a-f]{16}(\.fifo|\\n|\"|$)"), r"-HASH\1"),
    (re.compile(r"(generation|number): \d+"), r"\1: N"),
)


async def take(made: World, namespaces: Sequence[str] = NAMESPACES) -> EndState:
    """Reads everything that the operators made in these namespaces."""
    routes = await read_routes(made, namespaces)
    objects, strays = await _objects(made, routes, namespaces)
    return EndState(routes, objects, strays, await asyncio.to_thread(_aws, made, namespaces))


async def read_routes(made: World, namespaces: Sequence[str] = NAMESPACES) -> dict[Key, Mapping[str, Any]]:
    """The ChaskiRoutes."""
    listed = [each for space in namespaces for each in await made.admin.items(route_path((space, "")).rstrip("/"))]
    return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in listed}


async def read_strays(made: World, routes: Mapping[Key, Mapping[str, Any]]) -> list[str]:
    """Objects whose route does not exist."""
    return (await _objects(made, routes, NAMESPACES))[1]


async def _objects(
    made: World, routes: Mapping[Key, Mapping[str, Any]], namespaces: Sequence[str]
) -> tuple[dict[Key, dict[str, str]], list[str]]:
    """The normalised objects of each route, and those without one."""
    keys = {each["metadata"]["uid"]: key for key, each in routes.items()}
    objects: dict[Key, dict[str, str]] = {key: {} for key in routes}
    strays = []
    for space in namespaces:
        for kind, path in _KINDS.items():
            for each in await made.admin.items(f"{path.format(space)}?{_SELECTOR}"):
                name = each["metadata"]["name"]
                owners = each["metadata"].get("ownerReferences") or ({"uid": ""},)
                if (key := keys.get(owners[0]["uid"])) is not None:
                    objects[key][f"{kind} {name}"] = normalised(each, space)
                elif (space, path.rpartition("/")[2], name) not in foreign.objects():
                    strays.append(f"{space}: {kind} {name}")
    return objects, strays


def _aws(made: World, namespaces: Sequence[str]) -> dict[Key, dict[str, str]]:
    """The queues and tables that carry this installation's tags, by the route in their tags, normalised."""
    found: dict[Key, dict[str, str]] = {}
    others = foreign.names()
    for name, text in (foreign.queues(made) | foreign.tables(made)).items():
        each = json.loads(text)
        space, _, route = each["tags"].get("chaski.dev/route", "").partition("/")
        if name in others or space not in namespaces or each["tags"].get("chaski.dev/owner") != INSTALLATION:
            continue
        of_route = found.setdefault((space, route), {})
        of_route[normalised(name, space).strip('"')] = normalised(each, space)
    return found


def normalised(document: Any, namespace: str) -> str:
    """JSON without what differs between two routes of the same spec in different namespaces."""
    text = json.dumps(_kept(document), sort_keys=True).replace(namespace, "NAMESPACE")
    for pattern, instead in _NUMBERS:
        text = pattern.sub(instead, text)
    return text


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _kept(each) for name, each in value.items() if name not in _DROPPED}
    return [_kept(each) for each in value] if isinstance(value, list) else value


def unsettled(routes: Mapping[Key, Mapping[str, Any]], lives: Iterable[Life]) -> dict[str, str]:
    """Why each route is not in its final state yet; empty if all are."""
    found: dict[str, str] = {}
    for life in lives:
        document = routes.get(life.key)
        if life.delete_sent is not None:
            reason = "is not deleted" if document and document["metadata"]["uid"] == life.uid else ""
        else:
            reason = "does not exist" if document is None else _reason(life.key, document)
        if reason:
            found["/".join(life.key)] = reason
    return found


def _reason(key: Key, document: Mapping[str, Any]) -> str:
    status, generation = document.get("status") or {}, document["metadata"]["generation"]
    ready = next((each for each in status.get("conditions") or () if each["type"] == "Ready"), None)
    wanted = "False" if key in blocked_keys() else "True"
    if ready is None:
        return "has no condition Ready"
    if ready.get("observedGeneration") != generation:
        return f"Ready is of generation {ready.get('observedGeneration')}, not {generation}"
    if ready["status"] != wanted:
        return f"Ready is {ready['status']}: {ready['reason']}: {ready['message']}"
    draining = [each["name"] for each in status.get("queues") or () if each.get("state") == "Draining"]
    return f"{draining} are still draining" if draining else ""


async def control(made: World, evidence: Evidence, deadline_seconds: float) -> EndState:
    """The state that an undisturbed operator makes of the specs of the living routes, under their names in `chaos`.

    Raises:
        RuntimeError: it does not finish in time.
    """
    lives = [each for each in _living(evidence) if each.key not in blocked_keys()]
    keys = {each.key: (control_of(each.key[0]), each.key[1]) for each in lives}
    for each in lives:
        await made.admin.apply(route_path(keys[each.key]), document(keys[each.key], each.spec))
    async with undisturbed(made) as program:
        await program.start()
        deadline = now() + deadline_seconds
        while True:
            routes = await read_routes(made, control_namespaces())
            copies = [Life(keys[each.key], versions=each.versions) for each in lives]
            if not (left := unsettled(routes, copies)):
                break
            if now() > deadline:
                raise RuntimeError(f"the undisturbed operator did not finish: {left}")
            await asyncio.sleep(0.5)
        state = await take(made, control_namespaces())
    return _renamed(state, {copy: key for key, copy in keys.items()})


def _renamed(state: EndState, names: Mapping[Key, Key]) -> EndState:
    """The state by the routes of the chaos."""
    state.objects = {names[key]: value for key, value in state.objects.items()}
    state.aws = {names[key]: value for key, value in state.aws.items()}
    return state


def _living(evidence: Evidence) -> list[Life]:
    return [lives[-1] for lives in evidence.by_key.values() if lives[-1].delete_sent is None]
