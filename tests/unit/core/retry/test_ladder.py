"""`decide` holds the promise about ladders for every policy and every sequence of outcomes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.retry.ladder import Delivered, GiveUp, Ladder, LadderState, Reason, Retry, RetryPolicy, Rung, decide
from chaski_core.retry.outcome import ErrorClass, Outcome, class_of_key, class_of_status

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
    """The outcome whose most specific name is `key`."""
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
        st.lists(st.sampled_from([*(each.value for each in ErrorClass), "any", "404", "503", "429"]), unique=True)
    )
    return RetryPolicy(
        rungs,
        tuple(
            Ladder(each, draw(st.integers(1, 6)), tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=5))))
            for each in classes
        ),
    )


@pytest.mark.promise(4)
@given(policies(), KEYS, st.lists(KEYS, min_size=40, max_size=40))
def test_a_message_gets_exactly_the_retries_of_the_first_errors_ladder(
    policy: RetryPolicy, first: str, later: list[str]
) -> None:
    """Whatever fails later, retry r goes to rungs[r // retriesPerRung], and there are retriesPerRung x rungs of them."""
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
def test_a_2xx_ends_the_climb_wherever_it_was(before: LadderState | None) -> None:
    """Delivered is delivered, whatever went before."""
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
        pytest.param("301", "any", id="any takes 3xx"),
        pytest.param("timeout", "timeout", id="class that has no status"),
        pytest.param("tls", "any", id="any takes tls"),
        pytest.param("connection", "any", id="any takes connection"),
        pytest.param("refused", None, id="any does not take refused"),
    ],
)
def test_the_most_specific_ladder_wins(key: str, expected: str | None) -> None:
    """Status before class before `any`, in whichever order the route lists them; `any` never means refused."""
    for policy in (PRECEDENCE, replace(PRECEDENCE, ladders=PRECEDENCE.ladders[::-1])):
        ladder = policy.ladder_for(key)
        assert (ladder.error_class if ladder else None) == expected


def test_refused_is_retried_only_where_the_route_says_so() -> None:
    """A ladder for `refused` is honoured, for a target that a route is about to allow."""
    policy = replace(PRECEDENCE, ladders=(Ladder("refused", 1, ("r",)),))
    assert isinstance(decide(policy, failed("refused"), None, NOW), Retry)


@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("ladders", "expected"),
    [
        pytest.param((Ladder("5xx", 5, ("fast",)),), "fast", id="unchanged"),
        pytest.param((Ladder("5xx", 3, ("fast",)),), Reason.EXHAUSTED, id="exactly used up"),
        pytest.param((Ladder("5xx", 1, ("fast",)),), Reason.EXHAUSTED, id="shorter than what was climbed"),
        pytest.param((Ladder("5xx", 2, ("medium", "slow")),), "slow", id="rung removed, others in its place"),
        pytest.param((Ladder("500", 9, ("slow",)), Ladder("5xx", 1, ("fast",))), "slow", id="now more specific"),
        pytest.param((Ladder("any", 4, ("medium",)),), "medium", id="now covered by any"),
        pytest.param((Ladder("4xx", 9, ("fast",)),), Reason.NO_LADDER, id="ladder removed"),
        pytest.param((), Reason.NO_LADDER, id="no ladders left"),
    ],
)
def test_a_message_under_way_follows_the_route_of_now(ladders: tuple[Ladder, ...], expected: str) -> None:
    """The ladder is looked up in the route as it is; retries at or over its total mean a dead letter."""
    before = LadderState("500", 2, ())
    decision = decide(replace(DEFAULT, ladders=ladders), failed("404"), before, NOW)
    assert expected == (decision.rung.name if isinstance(decision, Retry) else getattr(decision, "reason", None))


@given(policies(), KEYS, KEYS, st.integers(0, 1_000))
def test_a_decision_never_fails_whatever_was_climbed_before(
    policy: RetryPolicy, first: str, later: str, retries: int
) -> None:
    """A state from any other route, at any height, gets a retry on a rung of this route or a dead letter."""
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
def test_a_first_error_named_by_another_release_still_has_a_ladder(key: str, retries: int) -> None:
    """A name that is not known here falls to the class that it is, else to `any`."""
    ladder = PRECEDENCE.ladder_for(key)
    assert ladder is not None
    assert ladder.retries == retries


def test_a_rung_that_the_route_does_not_have_is_a_key_error() -> None:
    """Asking for a rung by a name that is gone says so."""
    assert DEFAULT.rung("slow") == Rung("slow", 900)
    with pytest.raises(KeyError, match="glacial"):
        DEFAULT.rung("glacial")


@given(KEYS)
def test_every_error_name_belongs_to_a_class_of_the_closed_list(key: str) -> None:
    """A status belongs to its hundred, every other name to itself."""
    assert class_of_key(key) in {each.value for each in ErrorClass}
    assert failed(key).key == key
