"""Decisions for every policy and every sequence of outcomes, and the JSON form of a message's state."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core import json_codec
from chaski_core.retry.ladder import (
    Delivered,
    Discarded,
    ErrorNote,
    GiveUp,
    Hold,
    LadderState,
    Reason,
    Retry,
    decide,
    ladder_json,
    note_json,
    read_ladder,
    reason_to_give_up,
    remaining_wait_ms,
)
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_key, class_of_status
from chaski_core.retry.policy import Ladder, Result, RetryPolicy, Rung, StatusRule

NOW = 1_790_000_000_000
DEFAULT = RetryPolicy(
    (Rung("fast", 5), Rung("medium", 60), Rung("slow", 900)),
    (
        Ladder("4xx", 2, ("fast", "medium")),
        Ladder("5xx", 5, ("fast",)),
        Ladder("timeout", 1, ("fast", "medium", "slow")),
        Ladder("connection", 1, ("fast", "medium", "slow")),
    ),
)


def failed(key: str) -> Outcome:
    """The outcome with the most specific name `key`."""
    if key.isdigit():
        return Outcome(class_of_status(int(key)), int(key), detail=f"HTTP {key}")
    return Outcome(ErrorClass(key), detail=key)


KEYS = st.one_of(
    st.sampled_from(["connection", "timeout", "tls", "refused"]),
    st.integers(300, 599).map(str),
    st.sampled_from(["301", "400", "404", "429", "500", "503"]),
)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    """Any policy that a valid route can declare."""
    names = draw(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=5, unique=True))
    rungs = tuple(Rung(name, draw(st.integers(0, 900))) for name in names)
    classes = draw(
        st.lists(
            st.sampled_from([*(each.value for each in ErrorClass), "any", "404", "503, 500", "429,400"]), unique=True
        )
    )
    return RetryPolicy(
        rungs,
        tuple(
            Ladder(each, draw(st.integers(0, 6)), tuple(draw(st.lists(st.sampled_from(names), max_size=5))))
            for each in classes
        ),
    )


@pytest.mark.promise(4)
@given(policies(), KEYS, st.lists(KEYS, min_size=40, max_size=40))
def test_a_message_gets_exactly_the_retries_of_the_first_errors_ladder(
    policy: RetryPolicy, first: str, later: list[str]
) -> None:
    """Retry r goes to rungs[r // retriesPerRung], and there are retriesPerRung x rungs of them, whatever errors follow."""
    ladder = policy.ladder_for(first)
    expected = [name for name in ladder.rungs for _ in range(ladder.retries_per_rung)] if ladder else []

    taken: list[str] = []
    decision = decide(policy, failed(first), None, NOW)
    while isinstance(decision, Retry):
        assert decision.number == len(taken)
        taken.append(decision.rung.name)
        decision = decide(policy, failed(later[len(taken)]), decision.state, NOW + len(taken))

    assert isinstance(decision, GiveUp)
    assert taken == expected
    assert decision.state.key == first
    assert [note.key for note in decision.state.errors] == [first, *later[1 : len(taken) + 1]]
    assert [note.at for note in decision.state.errors] == [NOW + number for number in range(len(taken) + 1)]
    assert decision.state.attempts == len(taken) + 1
    if ladder:
        assert decision.reason == Reason.EXHAUSTED
    else:
        assert decision.reason == (Reason.REFUSED if first == "refused" else Reason.NO_LADDER)


@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("key", "rungs"),
    [
        pytest.param("400", ["fast", "fast", "medium", "medium"], id="4xx: four retries"),
        pytest.param("500", ["fast"] * 5, id="5xx: five retries"),
        pytest.param("timeout", ["fast", "medium", "slow"], id="timeout: three retries"),
        pytest.param("connection", ["fast", "medium", "slow"], id="connection: three retries"),
        pytest.param("301", [], id="3xx: none"),
        pytest.param("tls", [], id="tls: none"),
        pytest.param("refused", [], id="refused: none"),
    ],
)
def test_the_default_ladders_are_climbed_rung_by_rung(key: str, rungs: list[str]) -> None:
    """The predecessor's ladders: 4xx 4 retries, 5xx 5, timeout 3, connection 3."""
    taken: list[str] = []
    decision = decide(DEFAULT, failed(key), None, NOW)
    while isinstance(decision, Retry):
        taken.append(decision.rung.name)
        decision = decide(DEFAULT, failed(key), decision.state, NOW)
    assert taken == rungs


@pytest.mark.parametrize("before", [None, LadderState("500", 4, ())], ids=["first attempt", "last retry"])
def test_a_2xx_delivers_the_message_at_any_retry(before: LadderState | None) -> None:
    """Independent of earlier errors."""
    assert decide(DEFAULT, Outcome(None, 204), before, NOW) == Delivered()


PRECEDENCE = RetryPolicy(
    (Rung("r", 1),),
    (Ladder("any", 1, ("r",)), Ladder("4xx", 2, ("r",)), Ladder("404", 3, ("r",)), Ladder("timeout", 4, ("r",))),
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("404", "404", id="status before class"),
        pytest.param("400", "4xx", id="class before any"),
        pytest.param("503", "any", id="status with neither"),
        pytest.param("301", "any", id="any includes 3xx"),
        pytest.param("timeout", "timeout", id="class that has no status"),
        pytest.param("tls", "any", id="any includes tls"),
        pytest.param("connection", "any", id="any includes connection"),
        pytest.param("refused", None, id="any does not include refused"),
    ],
)
def test_the_most_specific_ladder_wins(key: str, expected: str | None) -> None:
    """Status before class before `any`, in any order of the route; `any` never includes refused."""
    for policy in (PRECEDENCE, replace(PRECEDENCE, ladders=PRECEDENCE.ladders[::-1])):
        ladder = policy.ladder_for(key)
        assert (ladder.error_class if ladder else None) == expected


def test_refused_is_retried_only_by_a_ladder_for_it() -> None:
    """For a target that a route is about to allow."""
    policy = replace(PRECEDENCE, ladders=(Ladder("refused", 1, ("r",)),))
    assert isinstance(decide(policy, failed("refused"), None, NOW), Retry)


@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("ladders", "expected"),
    [
        pytest.param((Ladder("5xx", 5, ("fast",)),), "fast", id="unchanged"),
        pytest.param((Ladder("5xx", 3, ("fast",)),), Reason.EXHAUSTED, id="exactly used up"),
        pytest.param((Ladder("5xx", 1, ("fast",)),), Reason.EXHAUSTED, id="shorter than the retries made"),
        pytest.param((Ladder("5xx", 2, ("medium", "slow")),), "slow", id="rung removed, others in its place"),
        pytest.param((Ladder("500", 9, ("slow",)), Ladder("5xx", 1, ("fast",))), "slow", id="now more specific"),
        pytest.param((Ladder("any", 4, ("medium",)),), "medium", id="now covered by any"),
        pytest.param((Ladder("4xx", 9, ("fast",)),), Reason.NO_LADDER, id="ladder removed"),
        pytest.param((), Reason.NO_LADDER, id="no ladders left"),
    ],
)
def test_a_message_in_flight_follows_the_current_route(ladders: tuple[Ladder, ...], expected: str) -> None:
    """Retries at or over the total of the current ladder mean a dead letter."""
    before = LadderState("500", 2, ())
    decision = decide(replace(DEFAULT, ladders=ladders), failed("404"), before, NOW)
    assert expected == (decision.rung.name if isinstance(decision, Retry) else getattr(decision, "reason", None))


@given(policies(), KEYS, KEYS, st.integers(0, 1_000))
def test_a_decision_never_fails_for_any_earlier_state(
    policy: RetryPolicy, first: str, later: str, retries: int
) -> None:
    """A state of any other route, with any retries, gives a retry on a rung of this route or a dead letter."""
    decision = decide(policy, failed(later), LadderState(first, retries, ()), NOW)
    ladder = policy.ladder_for(first)
    if ladder and retries + 1 < ladder.retries:
        assert isinstance(decision, Retry)
        assert decision.rung in policy.rungs
        assert decision.number == retries + 1
    else:
        assert isinstance(decision, GiveUp)
    assert decision.state.key == first


@pytest.mark.parametrize(
    ("key", "retries"),
    [("4xx", 2), ("weird", 1), ("any", 1), ("", 1), ("99", 1), ("4040", 1)],
    ids=["a class itself", "an unknown word", "any itself", "nothing", "two digits", "four digits"],
)
def test_a_first_error_of_another_release_has_a_ladder(key: str, retries: int) -> None:
    """An unknown name has the ladder of its class, else of `any`."""
    ladder = PRECEDENCE.ladder_for(key)
    assert ladder is not None
    assert ladder.retries == retries


def test_an_unknown_rung_is_a_key_error() -> None:
    """With the name."""
    assert DEFAULT.rung("slow") == Rung("slow", 900)
    with pytest.raises(KeyError, match="glacial"):
        DEFAULT.rung("glacial")


@given(KEYS)
def test_every_error_name_belongs_to_a_class_of_the_closed_list(key: str) -> None:
    """A status belongs to its hundred, every other name is a class."""
    assert class_of_key(key) in {each.value for each in ErrorClass}
    assert failed(key).key == key


# ---- state <-> JSON

WRITTEN = 1_795_492_800_123
AT = "2026-11-24T04:00:00.123Z"
NOTES = st.builds(
    ErrorNote,
    st.sampled_from(["404", "500", "timeout", "connection"]),
    st.integers(0, 4_000_000_000_000),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@given(st.lists(NOTES, min_size=1, max_size=40))
def test_a_state_is_written_and_read_without_a_change(notes: list[ErrorNote]) -> None:
    """Class, retries and every error, with short texts."""
    state = LadderState(notes[0].key, len(notes) - 1, tuple(notes))
    assert read_ladder(json_codec.loads(json_codec.dumps(ladder_json(state)))) == state


@pytest.mark.parametrize("failures", [119, 120, 121, 200])
def test_the_first_error_is_kept_with_a_full_list(failures: int) -> None:
    """The list has the newest errors; the one that fixed the ladder is beside it."""
    notes = tuple(ErrorNote("500", WRITTEN + number, f"failure {number}") for number in range(failures))
    state = LadderState("500", failures - 1, notes)
    for _ in range(3):
        written = ladder_json(state)
        again = read_ladder(written)
        assert again is not None
        assert again.errors[0] == notes[0]
        assert again.errors[-1] == notes[-1]
        assert len(written["errors"]) == min(failures, 120)
        state = again


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"class": "404", "retries": 2}, LadderState("404", 2, ()), id="without errors"),
        pytest.param(
            {"class": "404", "retries": 0, "firstError": {"class": "404", "at": AT}, "lastError": {"class": "404"}},
            LadderState("404", 0, (ErrorNote("404", WRITTEN),)),
            id="first and last are the same error",
        ),
        pytest.param(
            {"class": "404", "retries": 3, "firstError": {"class": "404"}, "lastError": {"class": "timeout"}},
            LadderState("404", 3, (ErrorNote("404", 0), ErrorNote("timeout", 0))),
            id="first and last only",
        ),
        pytest.param(
            {"class": "404", "retries": 1, "firstError": "not found", "lastError": ["?"]},
            LadderState("404", 1, (ErrorNote("unknown", 0, "not found"), ErrorNote("unknown", 0, "['?']"))),
            id="errors as texts",
        ),
        pytest.param(
            {"class": "404", "retries": 1, "lastError": {"class": "tls", "detail": 5, "excerpt": "e", "new": 1}},
            LadderState("404", 1, (ErrorNote("tls", 0, "", "e"),)),
            id="last only, with fields of another type",
        ),
        pytest.param(
            {"class": "a class to come", "retries": 7, "rung": "turbo", "errors": {"of": "another form"}},
            LadderState("a class to come", 7, ()),
            id="a newer release",
        ),
        pytest.param({"class": "404"}, None, id="no retries"),
        pytest.param({"retries": 1}, None, id="no class"),
        pytest.param({"class": "404", "retries": -1}, None, id="retries below zero"),
        pytest.param({"class": "404", "retries": True}, None, id="retries is a boolean"),
        pytest.param({"class": "404", "retries": 1.0}, None, id="retries is a float"),
        pytest.param({"class": "404", "retries": "1"}, None, id="retries is a text"),
        pytest.param({"class": 404, "retries": 1}, None, id="class is a number"),
        pytest.param([], None, id="an array"),
        pytest.param(None, None, id="null"),
    ],
)
def test_a_state_of_another_release_is_read(raw: object, expected: LadderState | None) -> None:
    """Only class and retries are required."""
    assert read_ladder(raw) == expected


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (ErrorNote("404", WRITTEN), {"class": "404", "at": AT}),
        (ErrorNote("404", WRITTEN, "d", "e"), {"class": "404", "at": AT, "detail": "d", "excerpt": "e"}),
        (ErrorNote("404", WRITTEN, "d" * 5_000), {"class": "404", "at": AT, "detail": "d" * 1_000}),
        (ErrorNote("404", WRITTEN, "a\udcffb"), {"class": "404", "at": AT, "detail": "a?b"}),
    ],
    ids=["bare", "with texts", "long", "undecodable"],
)
def test_the_json_of_an_error_has_only_non_empty_texts(note: ErrorNote, expected: dict[str, str]) -> None:
    """Texts are cut, and replaced where UTF-8 can't encode them."""
    assert note_json(note) == expected


def test_each_error_keeps_its_own_unknown_fields_in_a_shorter_list() -> None:
    """Another release may list fewer errors than this one."""
    listed = [{"class": "500", "at": AT, "host": "b"}, {"class": "503", "at": AT, "host": "c"}]
    old = {"class": "404", "retries": 5, "errors": listed, "firstError": {"class": "404", "at": AT, "host": "a"}}
    before = read_ladder(old)
    assert before is not None
    written = ladder_json(replace(before, retries=6, errors=(*before.errors, ErrorNote("timeout", WRITTEN))), old)
    assert [(note["class"], note.get("host")) for note in written["errors"]] == [
        ("404", None),
        ("500", "b"),
        ("503", "c"),
        ("timeout", None),
    ]
    assert (written["firstError"]["host"], written["lastError"]) == ("a", {"class": "timeout", "at": AT})


def test_an_unrelated_state_keeps_none_of_the_old_errors() -> None:
    """A message that starts a new ladder has the new errors only."""
    old = ladder_json(LadderState("404", 1, (ErrorNote("404", WRITTEN, "old"), ErrorNote("404", WRITTEN, "old"))))
    new = LadderState("500", 0, (ErrorNote("500", WRITTEN + 9, "new"),))
    assert ladder_json(new, old) == ladder_json(new)


def test_a_status_of_a_list_takes_precedence_over_its_class() -> None:
    """Each status of the list, with and without a space."""
    policy = RetryPolicy(DEFAULT.rungs, (*DEFAULT.ladders, Ladder("408, 425,429", 1, ("slow",))))
    for status in ("408", "425", "429"):
        decision = decide(policy, failed(status), None, NOW)
        assert isinstance(decision, Retry)
        assert decision.rung.name == "slow"
    assert isinstance(decision := decide(policy, failed("426"), None, NOW), Retry)
    assert decision.rung.name == "fast"


@pytest.mark.parametrize("ladder", [Ladder("404", 1, ()), Ladder("404", 0, ("fast",)), Ladder("404", 0, ())])
def test_without_retries_a_message_is_a_dead_letter_at_its_first_error(ladder: Ladder) -> None:
    """Also where its class has a ladder."""
    policy = RetryPolicy(DEFAULT.rungs, (*DEFAULT.ladders, ladder))
    decision = decide(policy, failed("404"), None, NOW)
    assert isinstance(decision, GiveUp)
    assert (decision.reason, decision.state.attempts) == (Reason.EXHAUSTED, 1)


RESULTS = (StatusRule(("409", "304"), Result.DELIVERED), StatusRule(("410",), Result.DISCARD))


@pytest.mark.promise(4)
@pytest.mark.parametrize("before", [None, LadderState("500", 0, (ErrorNote("500", NOW),))], ids=["first", "retry"])
def test_a_declared_result_decides_whatever_the_ladder_says(before: LadderState | None) -> None:
    """At the first attempt and at a retry: 409 is delivered, 410 is not attempted again; a 2xx stays a 2xx."""
    policy = RetryPolicy(DEFAULT.rungs, DEFAULT.ladders, RESULTS)
    for status in ("409", "304"):
        judged = policy.judge(failed(status))
        assert (judged.delivered, judged.status, judged.label) == (True, int(status), "delivered")
        assert decide(policy, judged, before, NOW) == Delivered()
    discarded = decide(policy, policy.judge(failed("410")), before, NOW)
    assert isinstance(discarded, GiveUp)
    assert discarded.reason is Reason.DISCARDED
    assert discarded.state.errors[-1].key == "410"
    assert policy.judge(failed("500")) == failed("500")
    dropping = replace(policy, outcomes=(StatusRule(("410",), Result.DISCARD, keep=False),))
    dropped = dropping.judge(failed("410"))
    assert (dropped.delivered, dropped.key, dropped.label) == (False, "410", "discarded")
    assert decide(dropping, dropped, before, NOW) == Discarded()
    delivered = Outcome(None, 200)
    assert policy.judge(delivered) is delivered


@given(policies(), KEYS, st.lists(KEYS, max_size=20))
def test_the_reason_of_a_state_is_that_of_its_decision(policy: RetryPolicy, first: str, later: list[str]) -> None:
    """A worker that reads a state which its predecessor recorded as ended gives the same reason."""
    policy = replace(policy, outcomes=(StatusRule(("410", "429"), Result.DISCARD),))
    decision = decide(policy, failed(first), None, NOW)
    for key in later:
        if not isinstance(decision, Retry):
            break
        decision = decide(policy, failed(key), decision.state, NOW)
    if isinstance(decision, GiveUp):
        assert reason_to_give_up(policy, decision.state) is decision.reason


@pytest.mark.parametrize(("too_old_at", "retried"), [(None, True), (NOW + 5_000, True), (NOW + 4_999, False)])
def test_a_retry_that_would_be_too_late_is_not_waited_for(too_old_at: int | None, *, retried: bool) -> None:
    """The rung's delay is five seconds."""
    decision = decide(DEFAULT, failed("500"), None, NOW, too_old_at_ms=too_old_at)
    assert isinstance(decision, Retry) is retried
    if isinstance(decision, GiveUp):
        assert decision.reason is Reason.TOO_OLD
        assert reason_to_give_up(DEFAULT, decision.state, max_age_seconds=5) is Reason.TOO_OLD


@given(st.text(max_size=40), st.integers(0, 604_800))
def test_jitter_adds_up_to_a_fifth_of_long_delays(subject: str, delay: int) -> None:
    """Always the same for a subject on a rung, so that its messages become due in the order in which they came."""
    wait = Rung("r", delay).wait_seconds(subject)
    assert wait == Rung("r", delay).wait_seconds(subject)
    assert delay <= wait <= delay * 1.2
    assert delay >= 60 or wait == delay


def test_jitter_spreads_subjects() -> None:
    """Over a fifth of the delay, about evenly: a hundredth of it holds fewer than a fifth of a thousand subjects."""
    waits = sorted(Rung("slow", 900).wait_seconds(f"subject-{number}") for number in range(1_000))
    assert (waits[0] < 910, waits[-1] > 1_070) == (True, True)
    assert all(after - before < 10 for before, after in zip(waits, waits[10:], strict=False))


@pytest.mark.parametrize(
    ("asked", "limit", "waits"),
    [(0.0, 3600, 5.0), (3.0, 3600, 5.0), (70.5, 3600, 70.5), (9_000.0, 3600, 3600.0), (70.5, 0, 5.0)],
)
def test_a_target_may_ask_for_a_longer_wait(asked: float, limit: int, waits: float) -> None:
    """The later of rung and header, bounded by the route; a limit of 0 ignores the header. It uses no retry up."""
    policy = replace(DEFAULT, max_retry_after_seconds=limit)
    decision = decide(policy, replace(failed("503"), retry_after_seconds=asked), None, NOW)
    assert isinstance(decision, Retry)
    assert (decision.rung.name, decision.number, decision.due_at) == ("fast", 0, NOW + waits * 1000)


@pytest.mark.parametrize(
    ("passed", "remains"),
    [(0, 300), (299.5, 0.5), (300, 0), (9_000, 0), (-9, 309), (-11, 0), (-3_000, 0), (-400 * 86_400, 0)],
)
def test_a_clock_that_was_set_back_makes_no_wait_longer(passed: float, remains: float) -> None:
    """`passed`: seconds since the error by the wall clock, which differs by up to 10 s between processes."""
    decision = decide(DEFAULT, replace(failed("503"), retry_after_seconds=300.0), None, NOW)
    assert isinstance(decision, Retry)
    now = NOW + round(passed * 1000)
    assert remaining_wait_ms(decision.due_at, decision.state, now) == remains * 1000


def test_a_wait_without_a_known_error_is_never_long() -> None:
    """What was decided is unknown then, so that nothing separates a long wait from a clock that was set back."""
    assert [remaining_wait_ms(NOW + wait, None, NOW) for wait in (-1, 10_000, 10_001)] == [0, 10_000, 0]


def test_a_ladder_that_was_lengthened_after_a_message_ended_makes_it_no_older() -> None:
    """Strict: the record says that the ladder had ended; the route, which limits no age, declares more retries since."""
    ended = LadderState("500", 2, (ErrorNote("500", NOW),) * 3)
    assert reason_to_give_up(DEFAULT, ended) is Reason.EXHAUSTED


@pytest.mark.parametrize(
    ("key", "retries", "held"),
    [
        ("404", 3, True),  # the last retry failed
        ("404", 40, True),  # one more that people asked for
        ("301", 0, True),  # no ladder
        ("404", 2, False),  # a retry is left
        ("refused", 0, False),  # never attempted
        ("410", 0, False),  # the route discards it
    ],
)
def test_people_decide_about_a_message_whose_ladder_has_ended(key: str, retries: int, *, held: bool) -> None:
    """With `onExhausted: Hold`; what was never attempted, discarded or is too old becomes a dead letter as before."""
    policy = replace(DEFAULT, hold_exhausted=True, outcomes=(StatusRule(("410",), Result.DISCARD),))
    before = LadderState(key, retries, ()) if retries else None
    decision = decide(policy, failed(key), before, NOW)
    assert isinstance(decision, Hold) is held
    assert not isinstance(decide(replace(policy, hold_exhausted=False), failed(key), before, NOW), Hold)
    if not held and retries:
        assert isinstance(decide(policy, failed(key), before, NOW, too_old_at_ms=NOW + 1), GiveUp)
