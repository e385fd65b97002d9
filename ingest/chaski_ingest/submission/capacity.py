"""A bound on what is held at a time, and on how much of it one holder has.

No holder may have more than what is then left for the others, except where it has nothing yet: alone it may have half, beside one that
has as much a third, and so on (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM ToN 6(2), 1998). So however many bytes one
producer sends, or holds back, there is room for the next one; no table of shares has to be kept.
"""

from collections.abc import Hashable

_REMEMBERED = 1_024  # holders that have nothing now; most will again


class Capacity:
    """So many things and so many bytes for all holders; what does not fit is refused, never waited for."""

    def __init__(self, things: int, size: int) -> None:
        self.max_things = things
        self.max_size = size
        self.things_held = 0
        self.bytes_held = 0
        self._holders: dict[Hashable, list[int]] = {}  # things and bytes of each that has, or had, any

    def fits(self, holder: Hashable, size: int, things: int = 1) -> bool:
        """Whether there is room."""
        fitting = self.reserve(holder, size, things)
        if fitting:
            self.release(holder, size, things)
        return fitting

    def reserve(self, holder: Hashable, size: int, things: int = 1) -> bool:
        """Takes room; False where there is none."""
        things_held, bytes_held = self.things_held + things, self.bytes_held + size
        if things_held > self.max_things or bytes_held > self.max_size:
            return False
        held = self._holders.get(holder)
        if held is None:
            self._holders[holder] = [things, size]
        elif (held[0] or held[1]) and (
            held[0] + things > self.max_things - things_held or held[1] + size > self.max_size - bytes_held
        ):
            return False
        else:
            held[0] += things
            held[1] += size
        self.things_held, self.bytes_held = things_held, bytes_held
        return True

    def release(self, holder: Hashable, size: int, things: int = 1) -> None:
        """Gives room back."""
        held = self._holders[holder]
        held[0] -= things
        held[1] -= size
        if len(self._holders) > _REMEMBERED and not held[1] and not held[0]:
            del self._holders[holder]
        self.things_held -= things
        self.bytes_held -= size


class CapacityHold:
    """What one request has of a budget: more and more while it arrives, nothing after its end."""

    __slots__ = ("_budget", "_holder", "size")

    def __init__(self, budget: Capacity, holder: Hashable) -> None:
        self._budget = budget
        self._holder = holder
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        return self._budget.fits(self._holder, size, 0)

    def grow(self, size: int) -> bool:
        """Takes room for so many bytes more; False where there is none."""
        if not self._budget.reserve(self._holder, size, 0):
            return False
        self.size += size
        return True

    def release(self) -> None:
        """Gives all of it back."""
        if self.size:
            self._budget.release(self._holder, self.size, 0)
            self.size = 0
