"""The messages of a load."""

from collections import Counter

from benchmarks.engine.traffic import placed


def test_subjects_take_turns() -> None:
    """Without a hot subject: all have as many messages, numbered from 0."""
    assert [placed(index, 3) for index in range(7)] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]


def test_a_hot_subject_has_its_share_from_the_start() -> None:
    """82 of each hundred belong to subject 0; the others take turns; every subject's numbers have no gap."""
    made = [placed(index, 10, 82) for index in range(1_000)]
    counts = Counter(subject for subject, _ in made)
    assert counts == Counter({0: 820} | dict.fromkeys(range(1, 10), 20))
    assert all(sum(subject == 0 for subject, _ in made[at : at + 100]) == 82 for at in range(0, 1_000, 100))
    for each in range(10):
        assert [number for subject, number in made if subject == each] == list(range(counts[each]))
