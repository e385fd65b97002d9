"""Violations, and the timeline shown with each. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from campaign.evidence import Evidence

KINDS = ("lost", "reordered", "wrongly charged", "duplicated", "not found", "answer", "ledger", "ended")


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    kind: str  # of `KINDS`
    token: str
    text: str
    lines: tuple[str, ...] = ()


def timeline(evidence: Evidence, token: str) -> tuple[str, ...]:
    """The recordings of a message, and the disturbances meanwhile, in chronological order."""
    events: list[tuple[float, str]] = []
    if (sending := evidence.sending_of.get(token)) is not None:
        label = sending.message.label or sending.message.idempotency_key or "-"
        reuse = f", id used before ({sending.message.reuse})" if sending.message.reuse else ""
        events.append((sending.began, f"sent with id {label}{reuse}, {sending.unclear} unclear responses"))
        if sending.accepted is not None:
            events.append((sending.accepted, f"accepted: {sending.answers}"))
    for each in evidence.by_token.get(token, ()):
        seconds = each.done - each.at
        events.append((each.at, f"attempt {each.attempt}: {each.status} in {seconds:.3f} s, id {each.message_id}"))
    for dead_letter in evidence.dead_letters_of.get(token, ()):
        stored = datetime.fromtimestamp(dead_letter.dead_lettered_at, UTC).isoformat(timespec="seconds")
        events.append(
            (
                evidence.ended,
                f"dead letter at the end: {dead_letter.reason}, {dead_letter.attempts} attempts, at {stored}",
            )
        )
    if events:
        first, last = min(at for at, _ in events), max(at for at, _ in events)
        events.extend(
            (each.begin, f"[{each.name} until {each.end - evidence.zero:.2f}]")
            for each in evidence.disturbances
            if each.overlaps(first, last)
        )
    return tuple(f"{at - evidence.zero:9.3f} {token if text[0] != '[' else ''} {text}" for at, text in sorted(events))
