"""The messages of a campaign and their expected results: pure, from a seed.

A message carries a token in its content, which is its identity for the judge: `SUBJECT.NUMBER.BEHAVIOUR`. Nothing of the product
goes into it, so the judge needs none of the product's ids. The behaviour is what the target does with the message:

- `ok`, `slow`: 200, at once or after up to 300 ms
- `f2`, `c1`, `h1`, `r1`: fails so often (503, 404, no answer, reset), then 200
- `fx`, `cx`, `hx`, `rx`: the same for ever
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACE = "campaign"
MAIN, WAITING = "main", "waiting"  # routes: one for the load, and one whose messages wait longer than its retention
TIMEOUT_SECONDS = 8
RETRIES: Mapping[str, int] = {"4xx": 2, "5xx": 3, "timeout": 1, "connection": 2}  # by class, as `RETRY` declares them
RETRY: Mapping[str, Any] = {
    "rungs": [{"name": "short", "delaySeconds": 1}, {"name": "long", "delaySeconds": 2}],
    "ladders": [
        {"class": "4xx", "retriesPerRung": 1, "rungs": ["short", "long"]},
        {"class": "5xx", "retriesPerRung": 3, "rungs": ["short"]},
        {"class": "timeout", "retriesPerRung": 1, "rungs": ["short"]},
        {"class": "connection", "retriesPerRung": 2, "rungs": ["short"]},
    ],
}
KEYS = ("campaign-key-0", "campaign-key-1", "campaign-key-2")  # of producers, if ingest authenticates them
_CLASSES = {"c": "4xx", "f": "5xx", "h": "timeout", "r": "connection"}
_STATUSES = {"c": 404, "f": 503}
_BEHAVIOURS = {
    "ok": 840, "slow": 40, "f1": 30, "f2": 15, "f3": 8, "fx": 12, "c1": 15, "c2": 8, "cx": 12,
    "h1": 3, "hx": 1, "r1": 8, "r2": 4, "rx": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the load."""

    token: str
    subject: str
    number: int  # within its subject, from 0: the order of acceptance
    label: str | None = None  # the producer's id
    idempotency_key: str | None = None
    reuse: str = ""  # why the label was used before: see `_label`
    repeat: bool = False  # the same request is sent again after its 202
    by_two: bool = False  # sent by two producers: two messages with the same content


def behaviour_of(token: str) -> str:
    """The part of a token that describes the behaviour of the target."""
    return token.rpartition(".")[2]


def failures_of(behaviour: str) -> float:
    """Number of failures of the target before it accepts a message."""
    if behaviour in {"ok", "slow"}:
        return 0
    return float("inf") if behaviour[1:] == "x" else int(behaviour[1:])


def class_of(behaviour: str) -> str:
    """The error class of its failures, or an empty string."""
    return _CLASSES.get(behaviour[0], "") if failures_of(behaviour) else ""


def status_of(behaviour: str) -> int:
    """The status of its failures; 0 if the target does not respond."""
    return _STATUSES.get(behaviour[0], 0)


def wait_of(token: str) -> float:
    """Seconds until the target responds."""
    if behaviour_of(token) != "slow":
        return 0.0
    return hashlib.sha256(token.encode()).digest()[0] / 255 * 0.3


def ends_delivered(token: str) -> bool:
    """Whether the ladder ends with a delivery."""
    behaviour = behaviour_of(token)
    return failures_of(behaviour) <= RETRIES.get(class_of(behaviour), 0)


def messages_of(seed: int, producer: int, subjects: list[str], reuse: bool, keys: bool) -> Iterator[Message]:
    """An endless sequence of one producer's messages over its subjects, at random, the first subjects far more often.

    Args:
        seed: the seed of the campaign.
        producer: the number of the producer.
        subjects: subjects that no other producer uses.
        reuse: ids are reused for other messages.
        keys: producers authenticate with keys, so that two of them may send the same content with the same id.
    """
    chance = random.Random(f"{seed}/{producer}")
    numbers = dict.fromkeys(subjects, 0)
    used: list[str] = []
    weights = [max(1, len(subjects) // (index + 1)) for index in range(len(subjects))]
    names, shares = list(_BEHAVIOURS), list(_BEHAVIOURS.values())
    while True:
        subject = chance.choices(subjects, weights)[0]
        number = numbers[subject]
        numbers[subject] += 1
        token = f"{subject}.{number}.{chance.choices(names, shares)[0]}"
        label, why = _label(chance, used, f"{seed}-{producer}", reuse)
        key = f"key-{token}" if label is None and chance.random() < 0.2 else None
        named = label is not None or key is not None
        repeat = named and not why and chance.random() < 0.05
        by_two = reuse and keys and label is not None and not repeat and chance.random() < 0.02
        yield Message(token, subject, number, label, key, why, repeat, by_two)


def _label(chance: random.Random, used: list[str], prefix: str, reuse: bool) -> tuple[str | None, str]:
    """A label or None, and why it was used before: recently, at any time, or by all producers."""
    drawn = chance.random()
    if drawn < 0.3:
        return None, ""
    if reuse and drawn < 0.36 and used:
        return chance.choice(used[-20:]), "recent"
    if reuse and drawn < 0.42 and used:
        return chance.choice(used), "any"
    if reuse and drawn < 0.44:
        return f"order-{chance.randrange(50)}", "shared"
    used.append(f"{prefix}-{len(used)}")
    return used[-1], ""


def route(name: str, target_url: str, ordering: str, **spec: Any) -> dict[str, Any]:
    """A ChaskiRoute that allows the target; `spec` replaces parts of it."""
    return {
        "apiVersion": "chaski.dev/v1alpha1",
        "kind": "ChaskiRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "ordering": ordering,
            "queues": [{"name": "messages", "partitions": 2}],
            "targets": {"allow": [{"name": "target", "url": target_url}]},
            "delivery": {"timeoutSeconds": TIMEOUT_SECONDS, "concurrencyPerPod": 128},
            "retry": dict(RETRY),
            "producers": [{"apiKeySha256": [hashlib.sha256(key.encode()).hexdigest()]} for key in KEYS],
            **spec,
        },
    }
