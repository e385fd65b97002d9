import pytest

from chaski_core.route.model import SubjectGroup
from chaski_runtime.observability.metrics.subject_groups import SubjectGroups


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
    groups = SubjectGroups(None if pattern is None else SubjectGroup(pattern, 10))
    assert groups.label(subject) == label


@pytest.mark.promise(12)
def test_the_first_values_are_kept_apart_and_all_later_ones_are_other() -> None:
    """Any number of subjects gives at most `maxValues` labels and two."""
    groups = SubjectGroups(SubjectGroup(r"^(.+)$", 3))
    labels = [groups.label(f"s{n}") for n in range(5_000)]
    assert set(labels) == {"s0", "s1", "s2", "other"}
    assert [groups.label(f"s{n}") for n in (4_999, 2, 3)] == ["other", "s2", "other"]
