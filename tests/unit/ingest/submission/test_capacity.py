"""Limits of what a process holds, and of each holder's share."""

import pytest

from chaski_ingest.submission.capacity import Capacity, Reservation


@pytest.mark.promise(12)
def test_a_reservation_beyond_the_limit_is_refused_until_another_is_released() -> None:
    """Both the number of items and their bytes are bounded."""
    capacity = Capacity(items=2, size=10)
    assert capacity.reserve(("a",), 6)
    assert not capacity.reserve(("b",), 5)
    assert capacity.reserve(("b",), 4)
    assert not capacity.reserve(("c",), 0)
    capacity.release(("a",), 6)
    assert capacity.reserve(("c",), 6)
    assert (capacity.items_held, capacity.bytes_held) == (2, 10)


@pytest.mark.promise(9)
@pytest.mark.parametrize(("others", "share"), [(0, 50), (1, 33), (2, 25), (7, 11)])
def test_no_holder_takes_more_than_it_leaves_for_others(others: int, share: int) -> None:
    """Alone half, beside one that has as much a third; and a new holder always finds space."""
    capacity = Capacity(items=1_000, size=100)
    holders = [Reservation(capacity, (number,)) for number in range(others + 1)]
    for _ in range(100):
        for each in holders:
            each.grow(1)
    assert max(each.size for each in holders) == share
    assert capacity.reserve(("new",), 100 - capacity.bytes_held)


def test_a_reservation_is_released_as_a_whole() -> None:
    """However it grew, and after it could not grow any more."""
    capacity = Capacity(items=1, size=100)
    reservation = Reservation(capacity, ("a",))
    assert reservation.grow(30)
    assert reservation.grow(20)
    assert not reservation.fits(1)
    assert not reservation.grow(1)
    reservation.release()
    reservation.release()
    assert capacity.bytes_held == 0
    assert reservation.grow(100)


@pytest.mark.promise(12)
def test_the_memory_of_past_holders_is_bounded() -> None:
    """However many producers have sent."""
    capacity = Capacity(items=10, size=100)
    for number in range(5_000):
        assert capacity.reserve((f"ns-{number // 64}", number), 50)
        capacity.release((f"ns-{number // 64}", number), 50)
    assert len(capacity._holders) <= 1_025
    assert len(capacity._namespaces) <= 1_025 // 64 + 2


@pytest.mark.promise(14)
@pytest.mark.parametrize(("namespaces", "left"), [(1, 2_500), (2, 1_429), (4, 770)])
def test_ten_thousand_producers_leave_space_for_another_namespace(namespaces: int, left: int) -> None:
    """Together they get three times what they leave; a producer of another namespace finds all of the rest."""
    capacity = Capacity(items=10_000, size=1_000_000)
    holders = [(f"ns-{number % namespaces}", number) for number in range(10_000)]
    taken = sum(capacity.reserve(holder, 10) for _ in range(2) for holder in holders)
    assert taken == capacity.items_held
    assert capacity.max_items - capacity.items_held == left
    assert sum(capacity.reserve(("other", "p"), 10) for _ in range(left)) == left // 2
    for holder in holders:
        if capacity._holders.get(holder) is not None and capacity._holders[holder].items:
            capacity.release(holder, 10)
    assert len(capacity._holders) <= 10_001


def test_a_namespace_that_is_refused_remembers_no_more_producers() -> None:
    """A flood of names beyond the limit takes no memory."""
    capacity = Capacity(items=10, size=100)
    for number in range(5_000):
        capacity.reserve(("ns", number), 1)
    assert capacity.items_held == 7
    assert len(capacity._holders) <= 1_025


@pytest.mark.promise(9)
def test_a_request_counts_once_however_its_body_arrives() -> None:
    """As an item with its first growth, of no bytes too; a producer that holds half of the items may go on with their bodies."""
    capacity = Capacity(items=4, size=1_000)
    first, second, third = (Reservation(capacity, ("ns", "p")) for _ in range(3))
    assert first.grow(0)
    assert second.grow(0)
    assert not third.fits(1)
    assert not third.grow(0)
    assert capacity.reserve(("other", "q"), 1)
    assert first.grow(10)
    assert (capacity.items_held, capacity.bytes_held) == (3, 11)
    first.release()
    assert (capacity.items_held, capacity.bytes_held) == (2, 1)
