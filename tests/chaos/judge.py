"""The judge: pure functions from recordings to violations. It knows only the promises of the product."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.evidence import Call, Evidence, Life, Violation, timeline
from chaos.plan import INSTALLATION, Key, blocked_keys
from chaski_aws.names import namespace_prefix

KINDS = (
    "not settled",
    "left",
    "differs",
    "foreign",
    "made again",
    "deleted",
    "two writers",
    "too many writes",
    "ended",
)
WRITES_PER_VERSION = 150  # of a route, attempts included; see `most_writes`
_READ_SECONDS = 3.0  # before a write: the operator had just read that the route exists
_SHOWN = 12  # lines of a timeline on either side


def judge(evidence: Evidence) -> list[Violation]:
    """All violations, by kind."""
    return [
        *(Violation("not settled", name, reason) for name, reason in evidence.unsettled.items()),
        *left(evidence), *different(evidence), *foreign_touched(evidence), *objects_made_again(evidence),
        *data_made_again(evidence), *deleted(evidence), *two_writers(evidence), *too_many_writes(evidence),
        *(Violation("ended", name, text) for name, _, text in (each.partition(": ") for each in evidence.exits)),
    ]  # fmt: skip


def left(evidence: Evidence) -> Iterator[Violation]:
    """Objects without their route, and data of routes whose deletion deletes it."""
    for each in evidence.state.strays:
        yield Violation("left", each, "its owner does not exist")
    for key, found in evidence.state.aws.items():
        lives = evidence.by_key.get(key)
        if not lives:
            yield Violation("left", "/".join(key), f"data of a route that never existed: {sorted(found)}")
        elif lives[-1].deletes_data:
            text = f"deletionPolicy is Delete, and this is left: {sorted(found)}"
            yield Violation("left", "/".join(key), text, _of_data(evidence, key, lives[-1]))


def different(evidence: Evidence) -> Iterator[Violation]:
    """Routes whose objects, queues or tables differ from those that an undisturbed operator made of the same spec."""
    for key, lives in evidence.by_key.items():
        if lives[-1].delete_sent is not None or key in blocked_keys() or "/".join(key) in evidence.unsettled:
            continue
        for made, wanted in (
            (evidence.state.objects.get(key, {}), evidence.control.objects.get(key, {})),
            (evidence.state.aws.get(key, {}), evidence.control.aws.get(key, {})),
        ):
            for name in sorted({*made, *wanted}):
                text = _difference(made.get(name), wanted.get(name))
                if text:
                    yield Violation("differs", "/".join(key), f"{name}: {text}", timeline(evidence, (), lives[-1]))


def _difference(made: str | None, wanted: str | None) -> str:
    if made == wanted:
        return ""
    if made is None:
        return "is missing"
    if wanted is None:
        return "exists, and an undisturbed operator makes none"
    at = next((n for n, (a, b) in enumerate(zip(made, wanted, strict=False)) if a != b), min(len(made), len(wanted)))
    begin = max(0, at - 60)
    return f"is …{made[begin : at + 60]}…, and should be …{wanted[begin : at + 60]}…"


def foreign_touched(evidence: Evidence) -> Iterator[Violation]:
    """Objects of others that were changed, and writes to them."""
    before, after = evidence.foreign
    for name in sorted({*before, *after}):
        text = _difference(after.get(name), before.get(name))
        if text:
            yield Violation("foreign", name, text)
    for call in _writes(evidence):
        taken = (call.namespace, call.plural, call.name) in evidence.others
        outside = bool(call.plural) and call.namespace not in evidence.namespaces
        if taken or outside or (call.operation and call.name in evidence.other_names):
            yield Violation("foreign", call.name, "the operator wrote to it", timeline(evidence, [call]))


def objects_made_again(evidence: Evidence) -> Iterator[Violation]:
    """Kubernetes objects that were made a second time, though nothing wanted them again."""
    by_uid = {life.uid: life for life in evidence.lives}
    made: dict[tuple[str, str, str], list[Call]] = defaultdict(list)
    for call in _writes(evidence):
        if call.status == 201 and call.owner:
            made[call.namespace, call.plural, call.name].append(call)
    for place, calls in made.items():
        calls.sort(key=lambda each: each.version)
        for before, call in itertools.pairwise(calls):
            life = by_uid.get(call.owner)
            text = "for a route that is not known" if life is None else _why_not(evidence, life, before, call)
            if text:
                lines = timeline(evidence, [before, *_reads(evidence, life, call), call], life)
                yield Violation("made again", "/".join(place), text, lines)


def _why_not(evidence: Evidence, life: Life, before: Call, call: Call) -> str:
    """Why the second of two calls must not make an object again; empty if it may."""
    if not life.wants(call.at):
        return "" if _reads(evidence, life, call) else "after its route was deleted, which was not read before"
    if before.owner == call.owner and all(_is_wanted(life, spec, call) for spec in life.specs(before.at, call.at)):
        return "while its route did not change"
    return ""


def _is_wanted(life: Life, spec: Mapping[str, Any], call: Call) -> bool:
    """Whether a spec has the Deployment or budget of a queue, or of the retries; other objects all specs have."""
    if call.plural not in ("deployments", "poddisruptionbudgets"):
        return True
    parts = [each["name"] for each in spec["queues"]] + (["retry"] if spec["retry"]["rungs"] else [])
    return any(call.name.startswith(f"chaski-{life.key[1]}-{part}") for part in parts)


def data_made_again(evidence: Evidence) -> Iterator[Violation]:
    """Queues and tables that were made again after they were deleted, though nothing wanted them again."""
    deleted_at: dict[str, Call] = {}
    made_at: dict[str, Call] = {}
    for call in sorted(_writes(evidence), key=lambda each: each.at):
        if call.operation in ("DeleteQueue", "DeleteTable") and call.succeeded:
            deleted_at[call.name] = call
        elif call.operation in ("CreateQueue", "CreateTable") and call.succeeded:
            key = _route_of(call)
            text, life = _fault_of_creation(evidence, key, call, made_at.get(call.name), deleted_at.get(call.name))
            made_at[call.name] = call
            if text:
                yield Violation("made again", call.name, text, _of_data(evidence, key, life))


def _fault_of_creation(
    evidence: Evidence, key: Key, call: Call, before: Call | None, gone: Call | None
) -> tuple[str, Life | None]:
    lives = evidence.by_key.get(key, [])
    life = next((each for each in reversed(lives) if each.wants(call.at)), None)
    ended = next((each for each in reversed(lives) if each.gone is not None and each.gone < call.at), None)
    if life is None:
        requested = ended is not None and ended.deletes_data
        if (requested or gone is not None) and not (ended and _reads(evidence, ended, call)):
            return "after its route was deleted", ended
        return "", ended
    if before is None or gone is None or gone.done is None or gone.done > call.at or gone.done < life.began:
        return "", life
    if _tags(call).get("chaski.dev/generation"):
        return "a queue of a generation that was deleted", life
    if all(_has_rung(spec, call) for spec in life.specs(before.at, call.at)):
        return "while its route did not change", life
    return "", life


def _has_rung(spec: Mapping[str, Any], made: Call) -> bool:
    """Whether a spec has the rung of a queue; a table all specs have."""
    rung = _tags(made).get("chaski.dev/rung")
    return rung is None or any(each["name"] == rung for each in spec["retry"]["rungs"])


def deleted(evidence: Evidence) -> Iterator[Violation]:
    """Queues and tables that were deleted though no deletion of their route, and no change, required it."""
    made: dict[str, Call] = {}
    newest: dict[Key, int] = {}
    for call in sorted(_writes(evidence), key=lambda each: each.at):
        if call.operation in ("CreateQueue", "CreateTable") and call.succeeded:
            made[call.name] = call
            key = _route_of(call)
            newest[key] = max(newest.get(key, 0), _generation(call))
        elif call.operation in ("DeleteQueue", "DeleteTable") and call.succeeded and call.name in made:
            key = _route_of(made[call.name])
            if _was_requested(evidence, key, call):
                newest.pop(key, None)
                continue
            text = _fault_of_deletion(evidence, key, call, made[call.name], newest.get(key, 0))
            if text:
                yield Violation("deleted", call.name, text, _of_data(evidence, key, None))


def _fault_of_deletion(evidence: Evidence, key: Key, call: Call, made: Call, newest: int) -> str:
    if call.operation == "DeleteTable":
        return "a table, whose route was not deleted with deletionPolicy Delete"
    if _generation(made):
        return "a queue that takes messages" if _generation(made) >= newest else ""
    specs = [spec for life in evidence.by_key.get(key, ()) for spec in life.specs(made.at, call.at)]
    return "a rung that every spec had" if all(_has_rung(spec, made) for spec in specs) else ""


def _was_requested(evidence: Evidence, key: Key, call: Call) -> bool:
    lives = evidence.by_key.get(key, ())
    return any(
        life.delete_sent is not None and life.delete_sent <= call.at and life.spec["deletionPolicy"] == "Delete"
        for life in lives
        if life.gone is None or life.gone + _READ_SECONDS >= call.at
    )


def two_writers(evidence: Evidence) -> Iterator[Violation]:
    """Writes of an operator that were sent after another one held the Lease, or after its own release."""
    leases = sorted(
        (each for each in evidence.calls if each.is_lease and each.writes and each.succeeded and each.by in evidence.operators),
        key=lambda each: each.done or 0.0,
    )  # fmt: skip
    position, latest = 0, Call(by="", at=0.0)
    for call in sorted(_writes(evidence), key=lambda each: each.at):
        while position < len(leases) and (leases[position].done or 0.0) < call.at:
            latest = max(latest, leases[position], key=lambda each: each.version)
            position += 1
        if latest.holder != call.by:
            text = f"sent while {latest.holder or 'no operator'} held the Lease"
            yield Violation("two writers", str(call), text, timeline(evidence, [*leases[:position][-6:], call]))


def too_many_writes(evidence: Evidence) -> Iterator[Violation]:
    """Routes that were written far more often than they changed, and writes after everything was settled."""
    for key, (number, versions) in writes_by_key(evidence).items():
        if number > WRITES_PER_VERSION * versions:
            yield Violation("too many writes", "/".join(key), f"{number} writes for {versions} specs")
    for call in _writes(evidence):
        if evidence.settled < call.at <= evidence.ended:
            yield Violation("too many writes", str(call), "nothing had changed", timeline(evidence, [call]))


def most_writes(evidence: Evidence) -> float:
    """The largest number of writes of a route for each of its specs."""
    return max((number / versions for number, versions in writes_by_key(evidence).values()), default=0.0)


def writes_by_key(evidence: Evidence) -> dict[Key, tuple[int, int]]:
    """For each route: the writes for it that were sent, and the specs and deletions that caused them."""
    by_uid = {life.uid: life.key for life in evidence.lives}
    numbers: Counter[Key] = Counter()
    for call in _writes(evidence):
        if call.plural == "chaskiroutes":
            numbers[call.namespace, call.name] += 1
        elif call.owner in by_uid:
            numbers[by_uid[call.owner]] += 1
    return {
        key: (numbers[key], sum(len(life.versions) + (life.delete_sent is not None) for life in lives))
        for key, lives in evidence.by_key.items()
    }


def _writes(evidence: Evidence) -> list[Call]:
    return [each for each in evidence.calls if each.writes and not each.is_lease and each.by in evidence.operators]


def _reads(evidence: Evidence, life: Life | None, write: Call) -> list[Call]:
    """Answers by which the writer knew, just before, that the route exists."""
    if life is None:
        return []
    return [
        each
        for each in evidence.calls
        if each.by == write.by and each.plural == "chaskiroutes" and each.name == life.key[1] and each.uid == life.uid
        and each.answered is not None and write.at - _READ_SECONDS <= each.answered <= write.at
    ]  # fmt: skip


def _of_data(evidence: Evidence, key: Key, life: Life | None) -> Sequence[str]:
    """The last writes to a route's queues and table."""
    prefixes = (f"chaski-{key[0]}-{key[1]}-", f"{namespace_prefix(INSTALLATION, key[0])}{key[1]}-")
    calls = [each for each in _writes(evidence) if each.operation and each.name.startswith(prefixes)]
    return timeline(evidence, calls[-2 * _SHOWN :], life)


def _route_of(call: Call) -> Key:
    namespace, _, name = _tags(call).get("chaski.dev/route", "").partition("/")
    return namespace, name


def _generation(call: Call) -> int:
    return int(_tags(call).get("chaski.dev/generation", "0"))


def _tags(call: Call) -> dict[str, str]:
    tags: Any = call.sent.get("tags") or call.sent.get("Tags") or {}
    return dict(tags) if isinstance(tags, dict) else {each["Key"]: each["Value"] for each in tags}
