"""The plan: valid routes, the same for the same seed, and every kind of fault."""

import itertools

import pytest

from chaos.faults import KINDS, schedule
from chaos.plan import document, keys_of, steps_of
from chaski_core.route.loading import load_route

SECONDS = 600.0


@pytest.mark.parametrize("seed", [1, 2])
def test_steps_are_valid_routes_in_order(seed: int) -> None:
    """A route is deleted only if it exists, never changes its ordering, and every spec is valid."""
    made = changed = deleted = 0
    for key in keys_of(50):
        steps = steps_of(seed, key, SECONDS)
        assert steps == steps_of(seed, key, SECONDS)
        assert [each.at for each in steps] == sorted(each.at for each in steps)
        exists = False
        for step in steps:
            assert step.at < SECONDS
            if step.spec is None:
                assert exists
                deleted += 1
            else:
                load_route(document(key, step.spec))
                made, changed = made + (not exists), changed + exists
            exists = step.spec is not None
        assert len({each.spec["ordering"] for each in steps if each.spec is not None}) == 1
    assert made > 50
    assert changed > 50
    assert deleted > 50


def test_names_are_prefixes_of_others_and_reused_in_all_namespaces() -> None:
    """`r1` and `r10`, in several namespaces."""
    keys = keys_of(50)
    assert len(set(keys)) == 50
    assert len({namespace for namespace, _ in keys}) == 3
    assert any(other.startswith(name) and other != name for (_, name), (_, other) in itertools.permutations(keys, 2))


@pytest.mark.parametrize("seed", [1, 2])
def test_schedule_has_every_kind_in_each_turn(seed: int) -> None:
    """In another order by each seed, and the same for the same seed."""
    for lane in (0, 1, 2):
        kinds = [name for name, each in KINDS.items() if each.lane == lane]
        turn = [each.name for each in itertools.islice(schedule(seed, lane, list(KINDS), 15), len(kinds))]
        assert sorted(turn) == sorted(kinds)
        assert turn == [each.name for each in itertools.islice(schedule(seed, lane, list(KINDS), 15), len(kinds))]
        assert turn != [each.name for each in itertools.islice(schedule(seed + 7, lane, list(KINDS), 15), len(kinds))]
