"""The judge of the chaos on recordings made by hand: each kind of violation once, and none in what is right."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from chaos.evidence import Call, EndState, Evidence, Life
from chaos.judge import WRITES_PER_VERSION, judge, most_writes
from chaos.plan import simple_spec

A, B = "operator-a", "operator-b"
SPACE = "chaos-a"
KEPT, DROPPED = (SPACE, "kept"), (SPACE, "dropped")
QUEUE, OLD, RUNG, TABLE = "kept-g2.fifo", "kept-g1.fifo", "kept-rung.fifo", "kept-table"
SPEC = simple_spec("Retain") | {"retry": {"rungs": [{"name": "fast"}], "ladders": []}}
Change = Callable[[Evidence], None]


def aws(at: float, operation: str, name: str, key: tuple[str, str] = KEPT, *, by: str = A, **tags: str) -> Call:
    """A call of AWS that succeeded."""
    tagged = {"chaski.dev/route": "/".join(key)} | {f"chaski.dev/{each}": value for each, value in tags.items()}
    return Call(by=by, at=at, operation=operation, name=name, sent={"tags": tagged}, done=at + 0.1, status=200)


def lease(at: float, version: int, holder: str, by: str = "") -> Call:
    """A write of the Lease."""
    return Call(
        by=by or holder, at=at, method="PUT", namespace="chaos-system", plural="leases", name="operator",
        done=at + 0.05, status=200, version=version, holder=holder,
    )  # fmt: skip


def applied(at: float, name: str, owner: str, status: int = 201, **parts: Any) -> Call:
    """An object that was applied."""
    values = {"by": A, "namespace": SPACE, "plural": "deployments", "method": "PATCH", "done": at + 0.1}
    return Call(at=at, name=name, owner=owner, status=status, version=int(at * 10), **values | parts)


def read(at: float, key: tuple[str, str], uid: str) -> Call:
    """A route that was read."""
    return Call(
        by=A, at=at, method="GET", namespace=SPACE, plural="chaskiroutes", name=key[1], uid=uid, done=at + 0.1,
        answered=at + 0.1, status=200,
    )  # fmt: skip


def clean() -> Evidence:
    """One route with two generations that stays, one that is deleted with its data; then another operator takes over."""
    calls = [
        lease(0.5, 5, A),
        aws(1.0, "CreateTable", TABLE),
        aws(1.0, "CreateQueue", OLD, generation="1"),
        aws(1.0, "CreateQueue", RUNG, rung="fast"),
        applied(2.0, "chaski-kept-messages", "u1"),
        aws(3.0, "CreateQueue", QUEUE, generation="2"),
        aws(4.0, "DeleteQueue", OLD),
        aws(5.0, "CreateQueue", "dropped.fifo", DROPPED, generation="1"),
        applied(5.5, "chaski-dropped-messages", "u2"),
        aws(7.0, "DeleteQueue", "dropped.fifo", DROPPED),
        lease(20.0, 200, B),
        aws(21.0, "SetQueueAttributes", QUEUE, by=B),
    ]
    kept = Life(KEPT, "u1", [(0.9, SPEC), (2.5, SPEC)])
    dropped = Life(DROPPED, "u2", [(4.9, simple_spec())], delete_sent=6.0, finalized=True, gone=8.0)
    state = EndState(objects={KEPT: {"Deployment x": "{}"}}, aws={KEPT: {"queue": "{}"}})
    return Evidence(
        calls, [kept, dropped], state, copy.deepcopy(state), operators=(A, B), namespaces=(SPACE, "chaos-system"),
        others={(SPACE, "deployments", "theirs")}, other_names={"theirs.fifo"}, foreign=({"x": "1"}, {"x": "1"}), settled=30.0, ended=40.0,
    )  # fmt: skip


def add(*calls: Call) -> Change:
    """More requests."""

    def change(evidence: Evidence) -> None:
        evidence.calls += calls

    return change


def parts(**values: Any) -> Change:
    """Other parts of the evidence."""

    def change(evidence: Evidence) -> None:
        for name, value in values.items():
            setattr(evidence, name, value)

    return change


def state(**values: Any) -> Change:
    """Other parts of the end state."""

    def change(evidence: Evidence) -> None:
        for name, value in values.items():
            setattr(evidence.state, name, value)

    return change


VIOLATIONS: dict[str, tuple[Change, str, str]] = {
    "not settled": (parts(unsettled={"chaos-a/kept": "has no condition Ready"}), "not settled", "no condition"),
    "object without an owner": (state(strays=["chaos-a: Deployment y"]), "left", "owner"),
    "data of a deleted route": (
        state(aws={KEPT: {"queue": "{}"}, DROPPED: {"queue": "{}"}}), "left", "deletionPolicy is Delete",
    ),
    "data of an unknown route": (
        state(aws={KEPT: {"queue": "{}"}, (SPACE, "x"): {"queue": "{}"}}), "left", "never existed",
    ),
    "object missing": (state(objects={KEPT: {}}), "differs", "is missing"),
    "object too many": (state(objects={KEPT: {"Deployment x": "{}", "y": "{}"}}), "differs", "makes none"),
    "queue differs": (state(aws={KEPT: {"queue": "[]"}}), "differs", "should be"),
    "foreign object changed": (parts(foreign=({"x": "1"}, {"x": "2"})), "foreign", "should be"),
    "foreign object written": (add(applied(9.0, "theirs", "u1", 200)), "foreign", "wrote"),
    "foreign queue deleted": (add(aws(9.0, "DeleteQueue", "theirs.fifo")), "foreign", "wrote"),
    "another namespace": (add(applied(9.0, "x", "u1", 200, namespace="default")), "foreign", "wrote"),
    "object again after its route": (add(applied(9.0, "chaski-dropped-messages", "u2")), "made again", "not read before"),
    "object again for nothing": (add(applied(9.0, "chaski-kept-messages", "u1")), "made again", "did not change"),
    "queue again after its route": (
        add(aws(9.0, "CreateQueue", "dropped.fifo", DROPPED, generation="1")), "made again", "after its route",
    ),
    "queue of an old generation": (
        add(aws(9.0, "CreateQueue", OLD, generation="1")), "made again", "generation",
    ),
    "current queue deleted": (add(aws(9.0, "DeleteQueue", QUEUE)), "deleted", "takes messages"),
    "table deleted": (add(aws(9.0, "DeleteTable", TABLE)), "deleted", "a table"),
    "rung deleted": (add(aws(9.0, "DeleteQueue", RUNG)), "deleted", "every spec had"),
    "write after another took over": (add(aws(22.0, "TagQueue", QUEUE)), "two writers", "while operator-b held"),
    "write before the Lease": (add(aws(0.2, "TagQueue", QUEUE)), "two writers", "while no operator held"),
    "write after the release": (add(lease(25.0, 250, "", B), aws(26.0, "TagQueue", QUEUE, by=B)), "two writers", "no operator"),
    "hot loop": (
        add(*(applied(9.0 + n / 1000, "chaski-kept-messages", "u1", 200) for n in range(2 * WRITES_PER_VERSION + 1))),
        "too many writes", "for 2 specs",
    ),
    "not quiet": (add(aws(35.0, "TagQueue", QUEUE, by=B)), "too many writes", "nothing had changed"),
    "ended": (parts(exits=["operator-a: ended by itself with 1"]), "ended", "by itself"),
}  # fmt: skip


def test_what_is_right_has_no_violation() -> None:
    """A change with a new generation, a deletion, another operator."""
    assert judge(clean()) == []
    assert most_writes(clean()) == 0.5


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_is_found_once(name: str) -> None:
    """One thing is wrong: that, and nothing else, is found."""
    change, kind, text = VIOLATIONS[name]
    evidence = clean()
    change(evidence)
    found = judge(evidence)
    assert [each.kind for each in found] == [kind], found
    assert text in found[0].text


def test_what_was_read_just_before_or_is_wanted_again_may_be_made() -> None:
    """An answer that was held, another route of the same name, a spec that was changed back."""
    evidence = clean()
    evidence.calls += [read(8.5, DROPPED, "u2"), applied(9.0, "chaski-dropped-messages", "u2")]
    assert judge(evidence) == []

    evidence = clean()
    evidence.lives.append(Life(DROPPED, "u3", [(8.9, simple_spec())]))
    evidence.calls += [
        aws(9.0, "CreateQueue", "dropped.fifo", DROPPED, generation="1"), applied(9.0, "chaski-dropped-messages", "u3"),
    ]  # fmt: skip
    assert judge(evidence) == []

    evidence = clean()
    other = simple_spec("Retain") | {"queues": [{"name": "other"}]}
    evidence.lives[0].versions += [(6.0, other), (8.0, SPEC)]
    evidence.calls += [
        aws(7.0, "DeleteQueue", RUNG), aws(8.5, "CreateQueue", RUNG, rung="fast"), applied(8.5, "chaski-kept-messages", "u1"),
    ]  # fmt: skip
    assert judge(evidence) == []
