"""The limits of one consumer: the lanes that it holds, and the attempts at once, in all and for each host.

How slots are shared out by host: `HostShares`, which is pure (no clock, no waiting). A host that hangs holds its slots until its
attempts time out, and which host will hang is not known beforehand. So:

- no host takes more than three quarters of the slots;
- hosts that are not known to answer take at most five eighths together, and another eighth is for the first attempts of hosts
  that were not attempted before. So however many hosts hang, a quarter stays for those that answer;
- a slot that becomes free goes to the host that holds the fewest, and of equal ones to the one that waits longest.

A host *answers* if its last attempt to end had a response, whatever its status. It is *silent* after a timeout or a failed
connection, and while nothing has come from it for one to two seconds. A host that answered until now keeps the slots that it holds
when it starts to hang: until its attempts time out, others may have less than a quarter.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chaski_worker.shortage.detection import Shortage

_WEIGHT = 0.05  # of the newest attempt in the mean: the last few dozen count
MAX_HOSTS = 1_024  # remembered; the hosts with slots are never forgotten
SILENT_AFTER_SECONDS = 1.0
_ANSWERS, _UNKNOWN, _SILENT = range(3)


class IntakeLimiter:
    """Counts held lanes and bytes; polling waits while either is at its limit.

    A poll can return ten messages, so a limit is exceeded by at most ten messages for each poll under way.
    """

    def __init__(self, max_lanes: int, max_bytes: int) -> None:
        self.max_lanes = max_lanes
        self.max_bytes = max_bytes
        self._lanes = 0
        self._bytes = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def full(self) -> bool:
        """Whether polling has to wait."""
        return not self._free.is_set()

    @property
    def lanes(self) -> int:
        """Lanes held."""
        return self._lanes

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._bytes

    async def wait(self) -> None:
        """Waits until lanes and bytes are below their limits."""
        await self._free.wait()

    def acquire(self, size: int) -> None:
        """Counts a lane of `size` bytes as held."""
        self._lanes += 1
        self._bytes += size
        self._update()

    def release(self, size: int) -> None:
        """Counts a lane of `size` bytes as no longer held."""
        self._lanes -= 1
        self._bytes -= size
        self._update()

    def is_crowded(self, shortage: Shortage) -> bool:
        """Whether a lane that waits for a shortage to end should be parked for the sake of others.

        Lanes that wait for a single rule may take half of the lanes at most.
        """
        return self.full or (shortage.of_one_target and self._lanes * 2 > self.max_lanes)

    def _update(self) -> None:
        if self._lanes < self.max_lanes and self._bytes < self.max_bytes:
            self._free.set()
        else:
            self._free.clear()


@dataclass(slots=True)
class _Host:
    taken: int = 0
    state: int = _UNKNOWN
    quiet: bool = False  # nothing has come from it since the last check


class HostShares:
    """Decides who takes a slot.

    Args:
        total: the slots.
        several: whether there may be more than one host. A single one may take all slots.
    """

    def __init__(self, total: int, *, several: bool) -> None:
        quarter = max(1, total // 4) if several and total > 1 else 0
        trial = max(1, total // 8) if quarter and total > 3 else 0
        self.free = total
        self.reserve = quarter + trial  # while more slots are free than these, only `most` is a limit
        self._total = total
        self._quarter = quarter
        self._most = total - quarter  # for one host
        self._unproven_most = total - quarter - trial  # for all hosts that are not known to answer
        self._first_most = total - quarter if trial else total  # the same, where one of them was not attempted before
        self._unproven = 0  # slots of hosts that are not known to answer
        self._hosts: dict[str, _Host] = {}
        self._checked_at = float("-inf")

    @property
    def taken(self) -> int:
        """Slots taken."""
        return self._total - self.free

    def take(self, name: str) -> bool:
        """Takes a slot for a host if one is free for it; whether it did."""
        host = self._hosts.get(name) or self._add(name)
        if not self.free or host.taken >= self._most or (self.free <= self.reserve and self._is_unproven_limited(host)):
            return False
        if not host.taken:
            host.quiet = False
        if host.state != _ANSWERS:
            self._unproven += 1
        host.taken += 1
        self.free -= 1
        return True

    def end(self, name: str, *, answered: bool | None) -> None:
        """Returns a slot. `answered`: whether the host responded; None: it was not attempted."""
        host = self._hosts[name]
        host.taken -= 1
        self.free += 1
        if host.state != _ANSWERS:
            self._unproven -= 1
        if answered:
            host.quiet = False
            if host.state != _ANSWERS:
                host.state = _ANSWERS
                self._unproven -= host.taken
        elif answered is not None:
            self._silence(host)

    def check(self, now: float) -> None:
        """Notices hosts that hold slots and from which nothing comes. To be called before `take` where slots are short.

        Args:
            now: seconds of a clock that only goes forward.
        """
        if now - self._checked_at < SILENT_AFTER_SECONDS:
            return
        self._checked_at = now
        for host in self._hosts.values():
            if host.taken and host.quiet:
                self._silence(host)
            host.quiet = True

    def crowds_out(self, name: str) -> bool:
        """Whether a host must wait for a slot that another host could have, so that its lanes would block others."""
        host = self._hosts.get(name) or self._add(name)
        if not self._quarter:
            return False
        return self._is_unproven_limited(host) or (host.taken >= self._most and len(self._hosts) > 1)

    def choose(self, waiting: Iterable[str]) -> str | None:
        """The host that gets the next free slot, of hosts that wait, longest first; None if none may have it."""
        fewest, chosen = self._most, None
        for name in waiting:
            host = self._hosts.get(name) or self._add(name)
            if host.taken < fewest and self._may_take(host):
                fewest, chosen = host.taken, name
        return chosen

    def _may_take(self, host: _Host) -> bool:
        return self.free > 0 and not self._is_unproven_limited(host)

    def _is_unproven_limited(self, host: _Host) -> bool:
        if host.state == _ANSWERS:
            return False
        is_first = host.state == _UNKNOWN and not host.taken
        return self._unproven >= (self._first_most if is_first else self._unproven_most)

    def _silence(self, host: _Host) -> None:
        if host.state == _ANSWERS:
            self._unproven += host.taken
        host.state = _SILENT

    def _add(self, name: str) -> _Host:
        if len(self._hosts) >= MAX_HOSTS:
            idle = next((each for each, host in self._hosts.items() if not host.taken), None)
            if idle is not None:
                del self._hosts[idle]
        host = self._hosts[name] = _Host()
        return host


class Slots:
    """A route's attempts at once (`concurrencyPerPod`), shared out by host.

    Args:
        total: attempts at once.
        several: whether the route may have more than one host.
        monotonic: seconds.
    """

    def __init__(self, total: int, *, several: bool, monotonic: Callable[[], float]) -> None:
        self._shares = HostShares(total, several=several)
        self._monotonic = monotonic
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by host, the one that waits longest first
        self.crowds_out = self._shares.crowds_out
        self.mean_seconds: float | None = None  # moving mean of an attempt; None before the first one

    @property
    def taken(self) -> int:
        """Attempts running now."""
        return self._shares.taken

    def take_free(self, host: str) -> bool:
        """Takes a slot if one is free for the host; whether it did."""
        shares = self._shares
        if shares.free <= shares.reserve:
            shares.check(self._monotonic())
        return shares.take(host)

    async def acquire(self, host: str) -> None:
        """Waits for a slot: the hosts that hold the fewest go first, and of a host the attempts that wait longest."""
        if self.take_free(host):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(host)
            else:
                self._forget(host, turn)
            raise

    def release(self, host: str, *, answered: bool | None = None) -> None:
        """Returns a slot and passes it on. `answered`: whether the host responded; None: it was not attempted."""
        self._shares.end(host, answered=answered)
        if not self._waiting:
            return
        self._shares.check(self._monotonic())
        # A host that has just answered may have slots that were kept free.
        while (chosen := self._shares.choose(self._waiting)) is not None:
            turns = self._waiting.pop(chosen)
            turn = turns.popleft()
            if turns:
                self._waiting[chosen] = turns  # behind the other hosts
            if not turn.done():  # else it was cancelled just now
                self._shares.take(chosen)
                turn.set_result(None)

    def _forget(self, host: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(host, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[host]

    def observe(self, seconds: float) -> None:
        """An attempt took `seconds`."""
        mean = self.mean_seconds
        self.mean_seconds = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
