"""Which objects the garbage collector traverses."""

import gc
import weakref

import pytest

from chaski_runtime.process.lifecycle import freeze_startup_objects


@pytest.fixture(autouse=True)
def _unfrozen() -> object:
    """Restores the collector of the test process."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Thing:
    """An object that can be part of a cycle."""

    itself: object = None


def test_objects_from_before_are_frozen_and_later_ones_are_collected() -> None:
    """A cycle made before stays; one made afterwards is collected."""
    before = Thing()
    before.itself = before
    freeze_startup_objects()
    assert gc.get_freeze_count() > 1_000
    after = Thing()
    after.itself = after
    old, new = weakref.ref(before), weakref.ref(after)
    del before, after
    gc.collect()
    assert (old() is None, new() is None) == (False, True)
