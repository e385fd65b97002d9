"""The label `subject_group`."""

from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaski_core.route.loading import validate
from chaski_core.route.model import SubjectGroup
from chaski_runtime.observability.metrics.subject_groups import IDLE_SECONDS, SubjectGroups
from contract.crd.making import changed

EVERYTHING = r"^(.+)$"


class Groups:
    """The labels of a route, and the values whose series have ended."""

    def __init__(self, max_values: int, pattern: str = EVERYTHING) -> None:
        self.ended: list[str] = []
        self.groups = SubjectGroups(SubjectGroup(pattern, max_values), self._end)

    def _end(self, values: Collection[str]) -> None:
        self.ended += sorted(values)

    def labels(self, producer: str | None, *subjects: str, now: float = 0.0) -> list[str]:
        """The labels of subjects, in order."""
        return [self.groups.label(subject, producer, now) for subject in subjects]


def numbered(prefix: str, count: int) -> list[str]:
    """Subjects of different values."""
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("pattern", "subject", "label"),
    [
        (r"^pc_[a-z]+_(\d+)", "pc_send_88_519", "88"),
        (r"^pc_[a-z]+_(\d+)", "other", "none"),
        (r"_(\d+)_", "a_1_b_2_", "1"),
        (r"^pc", "pc_1", "none"),
        (r"^(x)?pc", "pc_1", "none"),
        (r"^(.*)$", "ünïcode 🦙", "ünïcode 🦙"),
        (r"^()", "s", "none"),
        (None, "pc_send_88_519", "none"),
    ],
)
def test_the_label_is_capture_group_1_or_none(pattern: str | None, subject: str, label: str) -> None:
    """Without a pattern, a match, a group or text in it the label is `none`."""
    groups = SubjectGroups(None if pattern is None else SubjectGroup(pattern, 10), list)
    assert groups.label(subject, None, 0.0) == label


@pytest.mark.promise(9)
def test_a_pattern_that_is_too_large_labels_every_subject_other(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The API server accepts it, so messages go on; a warning names the field, and stderr has JSON lines only."""
    pattern = r"((?:" + r"\pL" * 50 + "){10})"
    groups = Groups(10, pattern)
    assert groups.labels("p", "a", "b") == ["other", "other"]
    assert "spec.subjectGroup.pattern can't be used" in caplog.text
    assert validate(changed({"spec.subjectGroup": {"pattern": pattern}})) == []
    assert capfd.readouterr().err == ""


@pytest.mark.promise(12)
def test_the_first_values_are_kept_apart_and_all_later_ones_are_other() -> None:
    """Any number of subjects of one producer gives at most `maxValues` labels and two."""
    groups = Groups(3)
    assert set(groups.labels("p", *numbered("s", 5_000))) == {"s0", "s1", "s2", "other"}
    assert groups.labels("p", "s4999", "s2", "s3") == ["other", "s2", "other"]
    assert groups.ended == []


@pytest.mark.promise(14)
def test_a_producer_that_floods_a_route_leaves_the_others_their_share() -> None:
    """Of 200 places a second producer gets up to 100 and a third one 66, whatever the first one sends in between."""
    groups = Groups(200)
    junk = numbered("junk", 10_000)
    assert "other" in groups.labels("flood", *junk)
    customers = numbered("c", 100)
    for customer in customers:
        assert groups.labels("shop", customer) == [customer]
        groups.labels("flood", *junk[:300])
    assert groups.labels("shop", *customers, "c100") == [*customers, "other"]
    tenants = numbered("t", 66)
    for tenant in tenants:
        assert groups.labels("desk", tenant) == [tenant]
        groups.labels("flood", *junk[:300])
    assert groups.labels("desk", *tenants) == tenants
    assert Counter(groups.labels("shop", *customers))["other"] <= 100 - 66


def test_one_producer_may_have_all_places() -> None:
    """A share that no other producer wants is not kept free."""
    wanted = numbered("c", 200)
    assert Groups(200).labels("shop", *wanted) == wanted


def test_a_value_that_was_not_seen_for_an_hour_loses_its_place_to_a_new_one() -> None:
    """So a flood passes without a restart; without a new value nothing is lost."""
    groups = Groups(20)
    groups.labels("p", *numbered("junk", 50))
    assert groups.labels("p", "c1", "junk0", now=IDLE_SECONDS - 1) == ["other", "junk0"]
    customers = numbered("c", 19)
    assert groups.labels("p", *customers, "c19", now=IDLE_SECONDS) == [*customers, "other"]
    assert "junk0" in groups.labels("p", "junk0", now=IDLE_SECONDS)


def test_the_series_of_a_value_without_a_place_end_before_it_is_counted_again() -> None:
    """Sixteen at a time, since it takes a pass over all series."""
    groups = Groups(20)
    groups.labels("p", *numbered("old", 20))
    groups.labels("p", *numbered("new", 15), now=IDLE_SECONDS)
    assert groups.ended == []
    groups.labels("p", "new15", now=IDLE_SECONDS)
    assert groups.ended == sorted(numbered("old", 16))
    groups.labels("p", "new16", now=IDLE_SECONDS)
    groups.labels("p", "old16", now=IDLE_SECONDS)
    assert groups.ended[16:] == ["old16", "old17"]


@pytest.mark.promise(12)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 40), st.sampled_from([0.0, 900.0, 4_000.0]))),
    st.integers(1, 12),
)
def test_never_more_values_have_a_place_than_the_route_allows(
    messages: list[tuple[str | None, int, float]], max_values: int
) -> None:
    """With any producers, subjects and pauses: values with open series are the placed ones and fewer than sixteen more."""
    groups, now, opened = Groups(max_values), 0.0, set[str]()
    for producer, number, pause in messages:
        now += pause
        ended = len(groups.ended)
        (label,) = groups.labels(producer, str(number), now=now)
        opened -= set(groups.ended[ended:])
        opened |= {label} - {"other"}
        assert label in {str(number), "other"}
        assert len(opened) < max_values + 16
        assert len(groups.groups._places) <= max_values
