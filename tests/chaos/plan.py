"""The routes of a run and what happens to them: pure, from a seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACES = ("chaos-a", "chaos-b", "chaos-c")
CONTROL = "control"  # prefix of the namespaces of the undisturbed operator, in place of `chaos`
INSTALLATION = "chaos"
Key = tuple[str, str]  # namespace, name

_BLOCKED = 2  # routes whose names others have taken: by a Deployment, by a queue
_CREATED_WITHIN = 0.4  # of the duration
_MIN_PAUSE_SECONDS, _PAUSES = 15.0, 12  # mean seconds between two steps of a route, or the duration by this number
_CHANGE_SHARE, _AGAIN_SHARE, _DELETE_POLICY_SHARE = 0.6, 0.75, 0.65
_RUNGS = ({"name": "fast", "delaySeconds": 5}, {"name": "slow", "delaySeconds": 60})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a route: `spec` is applied, or the route is deleted where it is None."""

    at: float  # seconds after the start
    spec: Mapping[str, Any] | None


def keys_of(routes: int) -> list[Key]:
    """Names of the routes: some contain hyphens, so that one is a prefix of another."""
    return [
        (NAMESPACES[number % len(NAMESPACES)], f"r{number}" if number % 4 else f"r{number}-x")
        for number in range(routes)
    ]


def blocked_keys() -> list[Key]:
    """Routes that never become Ready, since objects of their names belong to others."""
    return [(NAMESPACES[number], f"blocked{number}") for number in range(_BLOCKED)]


def steps_of(seed: int, key: Key, seconds: float) -> list[Step]:
    """The steps of one route, in order."""
    chance = random.Random(f"{seed}/{'/'.join(key)}")
    relaxed = chance.random() < 0.5  # it can't be changed, not even by a route that adopts retained queues
    pause = max(_MIN_PAUSE_SECONDS, seconds / _PAUSES)
    at = chance.uniform(0, _CREATED_WITHIN * seconds)
    steps = [Step(at, _spec(chance, relaxed=relaxed))]
    while (at := at + chance.expovariate(1 / pause)) < seconds:
        if chance.random() < _CHANGE_SHARE:
            steps.append(Step(at, _changed(chance, steps[-1].spec or {}, relaxed=relaxed)))
            continue
        steps.append(Step(at, None))
        at += chance.choice((0.0, chance.uniform(0, 10)))
        if at >= seconds or chance.random() > _AGAIN_SHARE:
            break
        steps.append(Step(at, _spec(chance, relaxed=relaxed)))
    return steps


def simple_spec(policy: str = "Delete") -> dict[str, Any]:
    """One queue `messages` with one partition."""
    return {
        "queues": [{"name": "messages"}],
        "targets": {"allow": [{"name": "t", "url": "https://t.example/"}]},
        "retry": {"rungs": [], "ladders": []},
        "producers": [{"namespace": "shop", "serviceAccount": "orders"}],
        "deletionPolicy": policy,
    }


def document(key: Key, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A ChaskiRoute as it is applied."""
    metadata = {"namespace": key[0], "name": key[1]}
    return {"apiVersion": "chaski.dev/v1alpha1", "kind": "ChaskiRoute", "metadata": metadata, "spec": dict(spec)}


def _spec(chance: random.Random, *, relaxed: bool) -> dict[str, Any]:
    policy = "Delete" if chance.random() < _DELETE_POLICY_SHARE else "Retain"
    return simple_spec(policy) | {
        "ordering": "Relaxed" if relaxed else "Strict",
        "queues": _queues(chance),
        "delivery": {"timeoutSeconds": chance.randint(5, 60)},
        "retry": _retry(chance, relaxed=relaxed),
    }


def _changed(chance: random.Random, before: Mapping[str, Any], *, relaxed: bool) -> dict[str, Any]:
    """One or two parts changed."""
    other = _spec(chance, relaxed=relaxed)
    parts = chance.sample(["queues", "delivery", "retry", "deletionPolicy"], chance.randint(1, 2))
    return dict(before) | {part: other[part] for part in parts}


def _queues(chance: random.Random) -> list[dict[str, Any]]:
    main = {"name": chance.choice(("messages", "orders", "bulk")), "partitions": chance.randint(1, 3)}
    urgent = {"name": "urgent", "subjects": ["u_*"], "partitions": 1}
    return [urgent, main] if chance.random() < 0.3 else [main]


def _retry(chance: random.Random, *, relaxed: bool) -> dict[str, Any]:
    rungs = [dict(each) for each in _RUNGS if relaxed and chance.random() < 0.6]
    names = [each["name"] for each in rungs]
    ladders = [{"class": "5xx", "retriesPerRung": chance.randint(1, 3), "rungs": names}] if names else []
    return {"rungs": rungs, "ladders": ladders}
