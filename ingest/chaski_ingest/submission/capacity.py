"""A limit on what a process holds at a time, and on the share of each namespace and of each holder in it.

No holder may have more than is then left for the others, except for its first item and its first bytes: one alone may have half, one beside
another that has as much may have a third, and so on (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM ToN 6(2),
1998). So however many bytes one producer sends or holds back, there is space for the next one, and no table of shares is
needed. The same holds for all holders of a namespace together, with three times what is left: a namespace alone may have
three quarters, so that another one finds space however many producers the first has.
"""

from collections.abc import Hashable

_REMEMBERED = 1_024  # holders that hold nothing now; most will again
_NAMESPACE_FACTOR = 3

Holder = tuple[Hashable, ...]  # the first part is the namespace
UNNAMED: Holder = ("",)


class _NamespaceShare:
    """What a namespace holds; its holders share this object, so that a reservation looks up the holder only."""

    __slots__ = ("holders", "items", "size")

    def __init__(self) -> None:
        self.items = 0
        self.size = 0
        self.holders = 0  # that are remembered


class _HolderShare:
    """What a holder holds."""

    __slots__ = ("items", "namespace", "size")

    def __init__(self, namespace: _NamespaceShare) -> None:
        self.items = 0
        self.size = 0
        self.namespace = namespace


class Capacity:
    """Limits items and bytes over all holders; what does not fit is refused, it never waits."""

    def __init__(self, items: int, size: int) -> None:
        self.max_items = items
        self.max_bytes = size
        self.items_held = 0
        self.bytes_held = 0
        self._holders: dict[Holder, _HolderShare] = {}  # past ones included
        self._namespaces: dict[Hashable, _NamespaceShare] = {}  # of these holders

    def fits(self, holder: Holder, size: int, items: int = 1) -> bool:
        """Whether a reservation would succeed."""
        fitting = self.reserve(holder, size, items)
        if fitting:
            self.release(holder, size, items)
        return fitting

    def reserve(self, holder: Holder, size: int, items: int = 1) -> bool:
        """Reserves `size` bytes and `items`; False where they do not fit."""
        items_left, bytes_left = self.max_items - self.items_held - items, self.max_bytes - self.bytes_held - size
        if items_left < 0 or bytes_left < 0:
            return False
        held = self._holders.get(holder)
        if held is None:
            held = self._remember(holder)
        elif (items and held.items and held.items + items > items_left) or (
            size and held.size and held.size + size > bytes_left
        ):
            return False
        namespace = held.namespace
        if (items and namespace.items and namespace.items + items > _NAMESPACE_FACTOR * items_left) or (
            size and namespace.size and namespace.size + size > _NAMESPACE_FACTOR * bytes_left
        ):
            self._forget_surplus(holder, held)
            return False
        held.items += items
        held.size += size
        namespace.items += items
        namespace.size += size
        self.items_held += items
        self.bytes_held += size
        return True

    def release(self, holder: Holder, size: int, items: int = 1) -> None:
        """Returns what `reserve` took."""
        held = self._holders[holder]
        namespace = held.namespace
        held.items -= items
        held.size -= size
        namespace.items -= items
        namespace.size -= size
        self.items_held -= items
        self.bytes_held -= size
        if len(self._holders) > _REMEMBERED:
            self._forget_surplus(holder, held)

    def _remember(self, holder: Holder) -> _HolderShare:
        namespace = self._namespaces.get(holder[0])
        if namespace is None:
            namespace = self._namespaces[holder[0]] = _NamespaceShare()
        namespace.holders += 1
        held = self._holders[holder] = _HolderShare(namespace)
        return held

    def _forget_surplus(self, holder: Holder, held: _HolderShare) -> None:
        """Forgets a holder that holds nothing, where many are remembered."""
        if held.items or held.size or len(self._holders) <= _REMEMBERED:
            return
        del self._holders[holder]
        held.namespace.holders -= 1
        if not held.namespace.holders:
            del self._namespaces[holder[0]]


class Reservation:
    """What one request holds: itself as an item, and its bytes as they arrive; it is released when the request ends."""

    __slots__ = ("_capacity", "_holder", "_items", "size")

    def __init__(self, capacity: Capacity, holder: Holder) -> None:
        self._capacity = capacity
        self._holder = holder
        self._items = 0
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether it can grow by `size` bytes."""
        return self._capacity.fits(self._holder, size, 1 - self._items)

    def grow(self, size: int) -> bool:
        """Adds `size` bytes; False where they do not fit."""
        items = 1 - self._items
        if not self._capacity.reserve(self._holder, size, items):
            return False
        self._items = 1
        self.size += size
        return True

    def release(self) -> None:
        """Returns all of it."""
        if self._items:
            self._capacity.release(self._holder, self.size, self._items)
            self._items = self.size = 0
