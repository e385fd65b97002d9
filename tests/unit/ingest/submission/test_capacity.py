import pytest

from chaski_ingest.submission.capacity import Capacity, CapacityHold


@pytest.mark.promise(12)
def test_what_does_not_fit_is_refused_until_there_is_room() -> None:
    """Both the number of things and their bytes are bounded."""
    budget = Capacity(things=2, size=10)
    assert budget.reserve("a", 6)
    assert not budget.reserve("b", 5)
    assert budget.reserve("b", 4)
    assert not budget.reserve("c", 0)
    budget.release("a", 6)
    assert budget.reserve("c", 6)
    assert (budget.things_held, budget.bytes_held) == (2, 10)


@pytest.mark.promise(9)
@pytest.mark.parametrize(("others", "most"), [(0, 50), (1, 33), (2, 25), (7, 11)])
def test_no_holder_takes_more_than_it_leaves_for_others(others: int, most: int) -> None:
    """Alone half, beside one that has as much a third; and there is always room for who has nothing yet."""
    budget = Capacity(things=1_000, size=100)
    holders = [CapacityHold(budget, number) for number in range(others + 1)]
    for _ in range(100):
        for hold in holders:
            hold.grow(1)
    assert max(hold.size for hold in holders) == most
    assert budget.reserve("new", 100 - budget.bytes_held)


def test_what_a_hold_has_goes_back_at_its_end() -> None:
    """However it grew, and where it could not grow any more."""
    budget = Capacity(things=1, size=100)
    hold = CapacityHold(budget, "a")
    assert hold.grow(30)
    assert hold.grow(20)
    assert not hold.fits(1)
    assert not hold.grow(1)
    hold.release()
    hold.release()
    assert budget.bytes_held == 0
    assert hold.grow(100)


@pytest.mark.promise(12)
def test_holders_that_have_nothing_are_not_remembered_without_bound() -> None:
    """However many producers there were."""
    budget = Capacity(things=10, size=100)
    for number in range(5_000):
        assert budget.reserve(number, 50)
        budget.release(number, 50)
    assert len(budget._holders) <= 1_025
