"""The campaign's judge on recordings made by hand: each kind of violation once, and none in what is right."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from campaign.evidence import DeadLetter, Disturbance, Evidence, Request, Sending, merged
from campaign.judge import duplicated, judge
from campaign.plan import Message

WALL = 1_800_000_000.0
KEPT = {"s.2.fx": 5.7, "s.4.cx": 9.4}
RECORDED = (
    ("s.0.ok", 1.0, 1, 200),
    ("s.1.f1", 1.1, 1, 503),
    ("s.1.f1", 2.2, 2, 200),
    ("s.2.fx", 2.3, 1, 503),
    ("s.2.fx", 3.4, 2, 503),
    ("s.2.fx", 4.5, 3, 503),
    ("s.2.fx", 5.6, 4, 503),
    ("s.3.ok", 6.0, 1, 200),
    ("s.4.cx", 6.1, 1, 404),
    ("s.4.cx", 7.2, 2, 404),
    ("s.4.cx", 9.3, 3, 404),
    ("s.5.c1", 9.5, 1, 404),
    ("s.5.c1", 10.6, 2, 200),
)
Change = Callable[[Evidence], Evidence]


def request(token: str, at: float, attempt: int, status: int, message_id: str = "") -> Request:
    """A request that was answered at once."""
    return Request(at, at + 0.01, token, attempt, message_id or f"identity-{token}", "", "", status)


def sending(token: str, **parts: Any) -> Sending:
    """What its producer knows of a message that was accepted."""
    subject, number, _ = token.split(".")
    made = Sending(Message(token, subject, int(number), label=f"label-{token}"), began=0.5, accepted=0.6)
    made.answers.append((f"label-{token}", f"identity-{token}"))
    return dataclasses.replace(made, **parts)


def dead_letter(token: str, made: float) -> DeadLetter:
    """A dead letter that was stored at that monotonic time."""
    return DeadLetter(token, f"label-{token}", f"identity-{token}", "s", "exhausted", 4, WALL + made)


def clean(ordering: str = "Strict") -> Evidence:
    """Six messages of one subject: delivered, retried, given up."""
    tokens = sorted({token for token, *_ in RECORDED})
    return Evidence(
        ordering,
        [sending(token) for token in tokens],
        [request(*each) for each in RECORDED],
        [dead_letter(token, made) for token, made in KEPT.items()],
        ended=20.0,
        wall=WALL,
        ledger={"accepted": 6, "delivered": 4, "deadLettered": 2, "pending": 0, "unaccounted": 0},
    )


def requests(*without: tuple[str, int], add: Sequence[Request] = ()) -> Change:
    """Leaves out requests by token and attempt (0: all of the token), and adds some."""

    def change(evidence: Evidence) -> Evidence:
        kept = [
            each
            for each in evidence.requests
            if (each.token, each.attempt) not in without and (each.token, 0) not in without
        ]
        return dataclasses.replace(evidence, requests=[*kept, *add])

    return change


def moved(token: str, attempt: int, at: float, number: int | None = None) -> Change:
    """Moves a request to another time, or gives it another attempt number."""

    def change(evidence: Evidence) -> Evidence:
        (old,) = [each for each in evidence.requests if (each.token, each.attempt) == (token, attempt)]
        return requests((token, attempt), add=[request(token, at, number or attempt, old.status)])(evidence)

    return change


def dead_letters(*kept: DeadLetter) -> Change:
    """Other dead letters."""
    return lambda evidence: dataclasses.replace(evidence, dead_letters=kept)


def parts(**values: Any) -> Change:
    """Other parts."""
    return lambda evidence: dataclasses.replace(evidence, **values)


def sendings(token: str, **values: Any) -> Change:
    """Another memory of a producer."""

    def change(evidence: Evidence) -> Evidence:
        kept = [each for each in evidence.sendings if each.message.token != token]
        return dataclasses.replace(evidence, sendings=[*kept, sending(token, **values)])

    return change


FX, CX = dead_letter("s.2.fx", 5.7), dead_letter("s.4.cx", 9.4)
LEDGER = {"accepted": 6, "pending": 0, "unaccounted": 0}
VIOLATIONS: dict[str, tuple[Change, str, str, str]] = {
    "never attempted": (requests(("s.0.ok", 0)), "lost", "s.0.ok", "never attempted"),
    "attempted and lost": (requests(("s.1.f1", 2)), "lost", "s.1.f1", "has no end"),
    "dead letter missing": (dead_letters(CX), "lost", "s.2.fx", "not listed"),
    "one of two": (
        lambda evidence: sendings(
            "s.0.ok",
            message=Message("s.0.ok", "s", 0, "l", by_two=True),
            answers=[("l", "identity-s.0.ok"), ("l", "other")],
        )(parts(ledger=LEDGER | {"accepted": 7})(evidence)),
        "lost",
        "s.0.ok",
        "two producers",
    ),
    "before its predecessor": (moved("s.3.ok", 1, 2.0), "reordered", "s.3.ok", "before"),
    "rung, or before an end": (moved("s.1.f1", 2, 3.5), "reordered", "s.2.fx", "s.1.f1"),
    "charged without a failure": (moved("s.0.ok", 1, 1.0, 2), "wrongly charged", "s.0.ok", "after 0 failures"),
    "charged once too often": (moved("s.1.f1", 2, 2.2, 3), "wrongly charged", "s.1.f1", "attempt 3"),
    "given up too early": (requests(("s.2.fx", 4)), "wrongly charged", "s.2.fx", "after 3 failures"),
    "given up too late": (
        requests(add=[request("s.2.fx", 5.65, 5, 503)]),
        "wrongly charged",
        "s.2.fx",
        "declares 4",
    ),
    "given up without a failure": (
        dead_letters(FX, CX, dead_letter("s.3.ok", 6.1)),
        "wrongly charged",
        "s.3.ok",
        "after 0 failures",
    ),
    "of no message": (dead_letters(FX, CX, dead_letter("x.0.ok", 3.0)), "wrongly charged", "x.0.ok", "was not sent"),
    "delivered twice": (
        requests(add=[request("s.5.c1", 12.0, 2, 200)]),
        "duplicated",
        "s.5.c1",
        "without a cause",
    ),
    "two identities": (
        lambda evidence: sendings("s.5.c1", unclear=1)(
            requests(add=[request("s.5.c1", 12.0, 2, 200, "another")])(evidence)
        ),
        "duplicated",
        "s.5.c1",
        "without a cause",
    ),
    "two dead letters": (dead_letters(FX, CX, dead_letter("s.4.cx", 9.6)), "duplicated", "s.4.cx", "2 dead letters"),
    "stored too early": (dead_letters(FX, dead_letter("s.4.cx", 1.0)), "not found", "s.4.cx", "8 s too early"),
    "stored too late": (dead_letters(FX, dead_letter("s.4.cx", 3600.0)), "not found", "s.4.cx", "too late"),
    "not listed": (parts(not_listed={"s.4.cx": "then"}), "not found", "s.4.cx", "--since then"),
    "not traced": (parts(not_traced=["s.4.cx"]), "not found", "s.4.cx", "trace"),
    "answered as another": (
        sendings("s.0.ok", again=0.7, answers=[("label", "a"), ("label", "b")]),
        "answer",
        "s.0.ok",
        "another message",
    ),
    "an identity of its own at the target": (
        requests(("s.0.ok", 1), add=[request("s.0.ok", 1.0, 1, 200, "other")]),
        "answer",
        "s.0.ok",
        "['other'] was used",
    ),
    "ledger accepted": (parts(ledger=LEDGER | {"accepted": 5}), "ledger", "accepted", "reports 5"),
    "ledger pending": (parts(ledger=LEDGER | {"pending": 1}), "ledger", "pending", "reports 1"),
    "ledger unaccounted": (parts(ledger=LEDGER | {"unaccounted": -1}), "ledger", "unaccounted", "reports -1"),
    "ended": (parts(exits=["dev: ended by itself with 1"]), "ended", "dev", "by itself"),
}


@pytest.mark.parametrize("ordering", ["Strict", "Relaxed"])
def test_what_is_right_has_no_violation(ordering: str) -> None:
    """Deliveries, retries and dead letters as the ladders have them."""
    assert judge(clean(ordering)) == []


@pytest.mark.parametrize("ordering", ["Strict", "Relaxed"])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_is_found_once(name: str, ordering: str) -> None:
    """One thing is wrong: that, and nothing else, is found."""
    change, kind, token, text = VIOLATIONS[name]
    found = judge(change(clean(ordering)))
    assert [(each.kind, each.token) for each in found] == [(kind, token)]
    assert text in found[0].text


def test_strict_waits_for_the_end_and_relaxed_does_not() -> None:
    """A first attempt between the retries of its predecessor."""
    change = moved("s.3.ok", 1, 4.0)
    (found,) = judge(change(clean("Strict")))
    assert (found.kind, found.token) == ("reordered", "s.3.ok")
    assert any("attempt 1: 200" in line for line in found.lines)
    assert judge(change(clean("Relaxed"))) == []


@pytest.mark.parametrize("name", ["kill of dev", "pause of dev", "starvation of dev"])
def test_a_repeat_with_its_cause_is_none(name: str) -> None:
    """Delivered, then killed, paused or without a processor, then delivered again."""
    again = requests(add=[request("s.5.c1", 12.0, 2, 200)])
    between = parts(disturbances=[Disturbance(name, 11.0, 11.5)])
    evidence = between(again(clean()))
    assert judge(evidence) == []
    assert duplicated(evidence)[1] == {name.partition(" of ")[0]: 1}
    before = parts(disturbances=[Disturbance(name, 9.0, 9.5)])
    assert [each.kind for each in judge(before(again(clean())))] == ["duplicated"]


def test_two_copies_on_two_rungs_come_of_what_lay_before_both() -> None:
    """Handed to the next rung and not deleted: both copies are delivered, after the pause that came between."""
    copy = requests(add=[request("s.5.c1", 12.0, 3, 200)])
    (failed,) = [each for each in clean().requests if (each.token, each.attempt) == ("s.5.c1", 1)]
    paused = parts(disturbances=[Disturbance("pause of worker-1", failed.at + 0.1, failed.at + 0.2)])
    assert "duplicated" not in {each.kind for each in judge(paused(copy(clean())))}
    earlier = parts(disturbances=[Disturbance("pause of worker-1", failed.at - 0.4, failed.at - 0.2)])
    assert "duplicated" in {each.kind for each in judge(earlier(copy(clean())))}


def test_a_copy_that_stayed_in_its_queue_comes_of_what_happened_at_its_handover() -> None:
    """Handed to its rung, not deleted because of a pause, retried until it was delivered; then the copy is received, much later."""
    copy = requests(add=[request("s.2.fx", 4.55, 4, 200), request("s.2.fx", 15.0, 1, 200)])
    paused = parts(disturbances=[Disturbance("pause of worker-1", 2.4, 3.0)])
    assert duplicated(paused(copy(clean())))[1] == {"pause": 1}
    later = parts(disturbances=[Disturbance("pause of worker-1", 1.0, 2.0)])
    assert duplicated(later(copy(clean())))[1] == {"none": 1}


def test_a_kill_does_not_explain_a_second_identity() -> None:
    """A producer's repeat with its id within five minutes is one message whatever was killed."""
    again = requests(add=[request("s.5.c1", 12.0, 2, 200, "another")])
    change = sendings("s.5.c1", unclear=1)
    killed = parts(disturbances=[Disturbance("kill of ingest", 11.0, 11.5)])
    assert [each.kind for each in judge(change(killed(again(clean()))))] == ["duplicated"]


def test_an_unclear_answer_explains_a_second_message_without_an_id() -> None:
    """Its producer sent it again, and nothing says that it is the same."""
    again = requests(add=[request("s.5.c1", 12.0, 2, 200, "another")])
    change = sendings("s.5.c1", unclear=1, message=Message("s.5.c1", "s", 5))
    assert judge(parts(ledger=LEDGER | {"accepted": 7})(change(again(clean())))) == []


def test_one_crash_repeats_up_to_ten_messages_of_a_lane_in_order() -> None:
    """Ten are none; the eleventh is one; and so is one that comes before its predecessor."""
    tokens = [f"s.{number}.ok" for number in range(11)]
    first = [request(token, 1 + number / 10, 1, 200) for number, token in enumerate(tokens)]
    again = [request(token, 5 + number / 10, 1, 200) for number, token in enumerate(tokens)]
    killed = [Disturbance("kill of dev", 3.0, 3.5)]
    whole = Evidence("Strict", [sending(each) for each in tokens], [*first, *again], disturbances=killed, ended=9.0)
    assert [each.text for each in judge(whole)] == ["11 messages of one lane again after: kill of dev"]
    ten = dataclasses.replace(whole, requests=[*first, *again[:10]])
    assert judge(ten) == []
    swapped = [dataclasses.replace(again[0], at=5.15, done=5.16), *again[1:10]]
    found = judge(dataclasses.replace(whole, requests=[*first, *swapped]))
    assert [(each.kind, each.token) for each in found] == [("reordered", tokens[1])]


def test_a_moved_clock_decides_over_the_time_that_is_stored() -> None:
    """On the embedded backend a dead letter has the time of the wall clock that was in force."""
    clock = Disturbance("clock +305 s of dev", 9.0, 30.0, offset=305.0)
    evidence = parts(disturbances=[clock])(dead_letters(FX, dead_letter("s.4.cx", 9.4 + 305))(clean()))
    assert judge(evidence) == []
    long_ago = parts(disturbances=[dataclasses.replace(clock, begin=0.0)])(clean())
    assert {each.kind for each in judge(long_ago)} == {"not found"}


def test_a_stall_excuses_a_charge_and_nothing_else_does() -> None:
    """The target itself did not run: what its caller met is not known."""
    change = moved("s.0.ok", 1, 1.0, 2)
    early = request("s.0.ok", 0.9, 1, 200)
    for name, found in (("stall of the target", 0), ("pause of dev", 1)):
        disturbed = parts(disturbances=[Disturbance(name, 0.95, 1.0)])
        assert len(judge(disturbed(requests(add=[early])(change(clean()))))) == found


def test_a_crash_may_leave_a_message_with_both_ends() -> None:
    """It was handed over and not deleted: one copy is given up, the other is delivered later. Without a crash that is wrong."""
    change = requests(add=[request("s.4.cx", 12.0, 1, 200)])
    assert [(each.kind, each.token) for each in judge(change(clean("Relaxed")))] == [("duplicated", "s.4.cx")]
    killed = parts(disturbances=[Disturbance("kill of dev", 6.2, 6.9)])
    assert judge(killed(change(clean("Relaxed")))) == []


def test_disturbances_of_one_name_that_follow_each_other_are_one() -> None:
    """Samples without a gap; another name and a gap keep them apart."""
    samples = [("a", 1, 3), ("b", 2, 4), ("a", 3, 5), ("a", 6, 8)]
    found = merged(Disturbance(name, begin, end) for name, begin, end in samples)
    assert [(each.name, each.begin, each.end) for each in found] == [("a", 1, 5), ("b", 2, 4), ("a", 6, 8)]
