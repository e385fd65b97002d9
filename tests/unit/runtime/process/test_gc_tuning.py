"""What the garbage collector goes through."""

import gc
import weakref

import pytest

from chaski_runtime.process.gc_tuning import freeze_startup_objects


@pytest.fixture(autouse=True)
def _unfrozen() -> object:
    """Leaves the collector of the tests' process as it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Thing:
    """Something that can be watched."""

    itself: object = None


def test_what_was_there_is_left_alone_and_what_comes_is_collected() -> None:
    """A cycle from before stays uncollected; one from after goes."""
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
