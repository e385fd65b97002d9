"""One action of a tenant against another one, or against the platform."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from support.tenants.scene import Actor, Scene, Tenant


class Kind(StrEnum):
    """What the action would achieve."""

    READ = "read"
    SEND = "send"
    REPLAY = "replay"
    STOP = "stop"
    FORGE = "forge"
    EXHAUST = "exhaust"
    SQUAT = "squat"


class Means(StrEnum):
    """How it is done."""

    API = "API"  # by a developer's credentials, at the API server
    POD = "Pod"  # by a request of a Pod
    WORKER = "worker"  # by the workers of a route of one's own
    ROUTE = "route"  # by a route of one's own


@dataclass(frozen=True)
class Action:
    """An action that is refused, and the control: the same one by an actor who may do it, which succeeds.

    Attributes:
        text: what it attempts.
        refusal: what is seen then.
        attempt: does it as Mallory; returns what is seen.
        control_text: who may do it.
        permitted: what is seen then.
        control: does it so.
    """

    kind: Kind
    means: Means
    text: str
    refusal: str
    attempt: Callable[[Scene], str]
    control_text: str
    permitted: str
    control: Callable[[Scene], str]


def by_bob_or_mallory(
    kind: Kind, means: Means, text: str, refusal: str, permitted: str, act: Callable[[Scene, Tenant], str]
) -> Action:
    """An action on Bob's objects, which Bob may do."""
    return Action(
        kind,
        means,
        text,
        refusal,
        lambda scene: act(scene, scene.mallory),
        "Bob",
        permitted,
        lambda scene: act(scene, scene.bob),
    )


def by_platform_or_mallory(kind: Kind, text: str, act: Callable[[Scene, Actor, bool], str]) -> Action:
    """An action on objects of the platform, which its administrator may do; `act` gets whether it is only tried."""
    return Action(
        kind,
        Means.API,
        text,
        "Forbidden",
        lambda scene: act(scene, scene.mallory, False),
        "the administrator",
        "done",
        lambda scene: act(scene, scene.platform, True),
    )
