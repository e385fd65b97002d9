"""A message's climb as JSON, in the forms of this release and of its neighbours."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core import json_codec
from chaski_core.retry.ladder import ErrorNote, LadderState
from chaski_core.retry.ladder_codec import ladder_json, note_json, read_ladder

NOW = 1_795_492_800_123
AT = "2026-11-24T04:00:00.123Z"
NOTES = st.builds(
    ErrorNote,
    st.sampled_from(["404", "500", "timeout", "connection"]),
    st.integers(0, 4_000_000_000_000),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@given(st.lists(NOTES, min_size=1, max_size=40))
def test_a_climb_survives_being_written_and_read(notes: list[ErrorNote]) -> None:
    """Class, retries and every error, as long as the texts are short."""
    state = LadderState(notes[0].key, len(notes) - 1, tuple(notes))
    assert read_ladder(json_codec.loads(json_codec.dumps(ladder_json(state)))) == state


@pytest.mark.parametrize("failures", [119, 120, 121, 200])
def test_the_first_error_is_kept_where_the_list_is_full(failures: int) -> None:
    """The list holds the newest errors; the one that fixed the ladder stands beside it."""
    notes = tuple(ErrorNote("500", NOW + number, f"failure {number}") for number in range(failures))
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
        pytest.param({"class": "404", "retries": 2}, LadderState("404", 2, ()), id="no errors told"),
        pytest.param(
            {"class": "404", "retries": 0, "firstError": {"class": "404", "at": AT}, "lastError": {"class": "404"}},
            LadderState("404", 0, (ErrorNote("404", NOW),)),
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
            id="errors in words",
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
def test_a_climb_of_another_release_is_read_as_far_as_it_goes(raw: object, expected: LadderState | None) -> None:
    """Only class and retries are needed; without them nobody knows how far the message has climbed."""
    assert read_ladder(raw) == expected


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (ErrorNote("404", NOW), {"class": "404", "at": AT}),
        (ErrorNote("404", NOW, "d", "e"), {"class": "404", "at": AT, "detail": "d", "excerpt": "e"}),
        (ErrorNote("404", NOW, "d" * 5_000), {"class": "404", "at": AT, "detail": "d" * 1_000}),
        (ErrorNote("404", NOW, "a\udcffb"), {"class": "404", "at": AT, "detail": "a?b"}),
    ],
    ids=["bare", "with texts", "long", "undecodable"],
)
def test_an_error_is_shown_with_what_there_is(note: ErrorNote, expected: dict[str, str]) -> None:
    """Texts are cut, and made such that a queue and a terminal take them."""
    assert note_json(note) == expected


def test_each_error_keeps_its_own_unknown_fields_where_the_list_is_cut() -> None:
    """A release that lists fewer errors than this one: what it said of each stays with that error."""
    listed = [{"class": "500", "at": AT, "host": "b"}, {"class": "503", "at": AT, "host": "c"}]
    old = {"class": "404", "retries": 5, "errors": listed, "firstError": {"class": "404", "at": AT, "host": "a"}}
    before = read_ladder(old)
    assert before is not None
    written = ladder_json(replace(before, retries=6, errors=(*before.errors, ErrorNote("timeout", NOW))), old)
    assert [(note["class"], note.get("host")) for note in written["errors"]] == [
        ("404", None),
        ("500", "b"),
        ("503", "c"),
        ("timeout", None),
    ]
    assert (written["firstError"]["host"], written["lastError"]) == ("a", {"class": "timeout", "at": AT})


def test_an_unrelated_climb_leaves_nothing_of_the_old_errors() -> None:
    """A message that starts a new climb on top of old JSON tells the new errors only."""
    old = ladder_json(LadderState("404", 1, (ErrorNote("404", NOW, "old"), ErrorNote("404", NOW, "old"))))
    new = LadderState("500", 0, (ErrorNote("500", NOW + 9, "new"),))
    assert ladder_json(new, old) == ladder_json(new)
