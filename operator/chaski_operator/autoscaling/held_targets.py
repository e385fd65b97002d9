"""Held targets in a route's status: the condition TargetsHeld, the rows of `status.targets`, and events. Pure.

Workers report which targets they hold, by `chaski_target_held`. A target that the spec suspends is held also without a Pod. The
waits that a target asks for (`RetryAfter`) come and go: they are in the rows, which are written once a minute, and cause neither a
condition nor events.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaski_operator.kube.events import NORMAL, WARNING, Event
from chaski_operator.kube.status import Condition, Status, condition_false, condition_true

TARGETS_HELD = "TargetsHeld"
SUSPENDED, BREAKER = "Suspended", "Breaker"
_LASTING = (SUSPENDED, BREAKER)
_WHY = {
    SUSPENDED: "suspended by spec.targets.allow[].suspend",
    BREAKER: "too many attempts failed, see chaski_attempts_total and the workers' logs",
}

Held = Mapping[str, Sequence[str]]
"""Reasons by name of the allow rule, both sorted."""


def held_targets(suspended: Iterable[str], reported: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The held targets.

    Args:
        suspended: names of the allow rules that the spec suspends.
        reported: reason and allow rule of what workers hold.
    """
    pairs = {(name, SUSPENDED) for name in suspended} | {(name, reason) for reason, name in reported}
    found: dict[str, list[str]] = {}
    for name, reason in sorted(pairs):
        found.setdefault(name, []).append(reason)
    return found


def held_condition(held: Held) -> Condition:
    """TargetsHeld: True while the spec or a breaker holds a target; with the reason Several where both do."""
    lasting = _lasting(held)
    if not lasting:
        return condition_false(TARGETS_HELD, "NotHeld", "no target is suspended, and no breaker is open")
    reasons = {reason for each in lasting.values() for reason in each}
    messages = [f'"{name}": {"; ".join(_WHY[reason] for reason in each)}' for name, each in lasting.items()]
    text = f"{', '.join(messages)}. Messages wait in order and use up no retries"
    return condition_true(TARGETS_HELD, reasons.pop() if len(reasons) == 1 else "Several", text)


def target_rows(held: Held, known: Iterable[Mapping[str, Any]], now: str) -> list[Status]:
    """Rows of `status.targets`, one for each held target.

    Args:
        held: now.
        known: the rows so far; a target that was held stays held since then.
        now: RFC 3339, seconds.
    """
    since = {row["name"]: row["heldSince"] for row in known if "heldSince" in row}
    return [
        {"name": name, "reasons": list(reasons), "heldSince": since.get(name, now)} for name, reasons in held.items()
    ]


def held_events(held: Held, known: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Events for the targets that are held now and were not, and for those that are held no longer."""
    before = _lasting({row["name"]: row.get("reasons") or () for row in known})
    now = _lasting(held)
    events = []
    for name, reasons in now.items():
        if name not in before:
            type_ = WARNING if BREAKER in reasons else NORMAL
            events.append(Event(type_, "TargetHeld", f'target "{name}": {"; ".join(_WHY[each] for each in reasons)}'))
    gone = [name for name in before if name not in now]
    return events + [Event(NORMAL, "TargetReleased", f'target "{name}" is held no longer') for name in gone]


def _lasting(held: Held) -> dict[str, list[str]]:
    lasting = {name: [each for each in reasons if each in _LASTING] for name, reasons in held.items()}
    return {name: reasons for name, reasons in lasting.items() if reasons}
