"""A limit on what a process holds at a time, and on each holder's share of it.

No holder may have more than is then left for the others, except for its first item: one alone may have half, one beside
another that has as much may have a third, and so on (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM ToN 6(2),
1998). So however many bytes one producer sends or holds back, there is space for the next one, and no table of shares is
needed.
"""

from collections.abc import Hashable

_REMEMBERED = 1_024  # holders that hold nothing now; most will again


class Capacity:
    """Limits items and bytes over all holders; what does not fit is refused, it never waits."""

    def __init__(self, items: int, size: int) -> None:
        self.max_items = items
        self.max_bytes = size
        self.items_held = 0
        self.bytes_held = 0
        self._holders: dict[Hashable, list[int]] = {}  # items and bytes of each holder, past ones included

    def fits(self, holder: Hashable, size: int, items: int = 1) -> bool:
        """Whether a reservation would succeed."""
        fitting = self.reserve(holder, size, items)
        if fitting:
            self.release(holder, size, items)
        return fitting

    def reserve(self, holder: Hashable, size: int, items: int = 1) -> bool:
        """Reserves `size` bytes and `items`; False where they do not fit."""
        items_held, bytes_held = self.items_held + items, self.bytes_held + size
        if items_held > self.max_items or bytes_held > self.max_bytes:
            return False
        held = self._holders.get(holder)
        if held is None:
            self._holders[holder] = [items, size]
        elif (held[0] or held[1]) and (
            held[0] + items > self.max_items - items_held or held[1] + size > self.max_bytes - bytes_held
        ):
            return False
        else:
            held[0] += items
            held[1] += size
        self.items_held, self.bytes_held = items_held, bytes_held
        return True

    def release(self, holder: Hashable, size: int, items: int = 1) -> None:
        """Returns what `reserve` took."""
        held = self._holders[holder]
        held[0] -= items
        held[1] -= size
        if len(self._holders) > _REMEMBERED and not held[1] and not held[0]:
            del self._holders[holder]
        self.items_held -= items
        self.bytes_held -= size


class Reservation:
    """The bytes that one request holds: it grows as they arrive and is released when the request ends."""

    __slots__ = ("_capacity", "_holder", "size")

    def __init__(self, capacity: Capacity, holder: Hashable) -> None:
        self._capacity = capacity
        self._holder = holder
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether it can grow by `size` bytes."""
        return self._capacity.fits(self._holder, size, 0)

    def grow(self, size: int) -> bool:
        """Adds `size` bytes; False where they do not fit."""
        if not self._capacity.reserve(self._holder, size, 0):
            return False
        self.size += size
        return True

    def release(self) -> None:
        """Returns all of it."""
        if self.size:
            self._capacity.release(self._holder, self.size, 0)
            self.size = 0
